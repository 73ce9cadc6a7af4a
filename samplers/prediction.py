"""Convert what a network predicts (eps, v, x0 or a flow's velocity) to the denoised image x0.

x and x0 are [B, C, (T,) H, W] states as in `samplers.path`; sigma is a scalar, or broadcasts against them.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

Prediction = Literal["epsilon", "v_prediction", "sample", "flow"]


def denoised_from_output(output: Tensor, x: Tensor, sigma: Tensor | float, prediction: Prediction) -> Tensor:
    """x0 from a network's output for the state x at level sigma.

    epsilon: x - sigma * eps; flow: the same with the velocity noise - x0. v_prediction (Salimans and Ho 2022, arXiv 2202.00512):
    v = sqrt(abar) noise - sqrt(1 - abar) x0, hence x0 = x / (1 + sigma^2) - v * sigma / sqrt(1 + sigma^2). sample: the output
    itself.
    """
    if prediction in ("epsilon", "flow"):
        return x - sigma * output
    if prediction == "v_prediction":
        return x / (1 + sigma**2) - output * sigma / (1 + sigma**2) ** 0.5
    return output
