"""Between what a network predicts (eps, v or x0) and what this pack works with (the denoised image x0).

All of x, noise and x0 are [B, C, H, W] in the variance-exploding scale; sigma is a scalar or broadcasts against them.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

Prediction = Literal["epsilon", "v_prediction", "sample"]


def denoised_from_output(output: Tensor, x: Tensor, sigma: Tensor | float, prediction: Prediction) -> Tensor:
    """x0 from a network's output for the state x at level sigma.

    epsilon: x - sigma * eps. v_prediction (Salimans and Ho 2022, arXiv 2202.00512): v = sqrt(abar) noise -
    sqrt(1 - abar) x0, hence x0 = x / (1 + sigma^2) - v * sigma / sqrt(1 + sigma^2). sample: the output itself.
    """
    if prediction == "epsilon":
        return x - sigma * output
    if prediction == "v_prediction":
        return x / (1 + sigma**2) - output * sigma / (1 + sigma**2) ** 0.5
    return output


def eps_from_denoised(denoised: Tensor, x: Tensor, sigma: Tensor | float) -> Tensor:
    """eps = (x - x0) / sigma, the direction of the probability flow ODE; sigma must not be 0."""
    return (x - denoised) / sigma


def add_noise(denoised: Tensor, noise: Tensor, sigma: Tensor | float) -> Tensor:
    """x = x0 + sigma * noise."""
    return denoised + sigma * noise


def velocity(denoised: Tensor, noise: Tensor, sigma: Tensor | float) -> Tensor:
    """v = sqrt(abar) noise - sqrt(1 - abar) x0 = (noise - sigma x0) / sqrt(1 + sigma^2)."""
    return (noise - sigma * denoised) / (1 + sigma**2) ** 0.5


def variance_preserving(x: Tensor, sigma: Tensor | float) -> Tensor:
    """The papers' x_vp = x / sqrt(1 + sigma^2), unit variance at every level."""
    return x / (1 + sigma**2) ** 0.5


def variance_exploding(x_vp: Tensor, sigma: Tensor | float) -> Tensor:
    """x = x_vp * sqrt(1 + sigma^2), the inverse of `variance_preserving`."""
    return x_vp * (1 + sigma**2) ** 0.5
