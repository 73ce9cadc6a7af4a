"""Sigma tables: the noise level of every training timestep, from betas or from a model's own table.

The variance-exploding scale is used throughout: x = x0 + sigma * noise. The papers' variance-preserving quantities follow:
abar = 1 / (1 + sigma^2), x_vp = x * sqrt(abar).
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

BetaCurve = Literal["linear", "scaled_linear", "squaredcos_cap_v2"]

LARGEST_BETA = 0.999
# What ComfyUI substitutes for abar = 0, where sigma would be infinite.
SMALLEST_ALPHA_CUMPROD = 4.8973451890853435e-08


def make_betas(curve: BetaCurve, beta_start: float = 0.00085, beta_end: float = 0.012, timesteps: int = 1000) -> Tensor:
    """The variance added at each of `timesteps` steps, float64 [T].

    "linear" and "scaled_linear" (linear in sqrt(beta), Stable Diffusion's) run from `beta_start` to `beta_end`;
    "squaredcos_cap_v2" is the cosine curve of Nichol and Dhariwal (2021, arXiv 2102.09672, eq. 17) and ignores both.
    Raises ValueError for an unknown curve.
    """
    if curve == "linear":
        return torch.linspace(beta_start, beta_end, timesteps, dtype=torch.float64)
    if curve == "scaled_linear":
        return torch.linspace(beta_start**0.5, beta_end**0.5, timesteps, dtype=torch.float64).square()
    if curve == "squaredcos_cap_v2":
        times = torch.arange(timesteps + 1, dtype=torch.float64) / timesteps
        alphas = torch.cos((times + 0.008) / 1.008 * math.pi / 2).square()
        return (1 - alphas[1:] / alphas[:-1]).clamp(max=LARGEST_BETA)
    raise ValueError(f"beta curve {curve!r} is unknown; choose linear, scaled_linear or squaredcos_cap_v2.")


def alphas_cumprod_from_betas(betas: Tensor) -> Tensor:
    """abar_t = prod(1 - beta_s, s <= t), float64 [T]."""
    return torch.cumprod(1 - betas.double(), dim=0)


def rescale_to_zero_terminal_snr(alphas_cumprod: Tensor) -> Tensor:
    """Shift and scale sqrt(abar) so that the last entry is 0 and the first stays, float64 [T].

    Lin et al. (2024, arXiv 2305.08891), algorithm 1.
    """
    roots = alphas_cumprod.double().sqrt()
    return ((roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])).square()


def sigmas_from_alphas_cumprod(alphas_cumprod: Tensor) -> Tensor:
    """sigma = sqrt((1 - abar) / abar), float64 [T]; abar = 0 is replaced by 4.897e-8 (sigma 4518.8), as in ComfyUI."""
    alphas = alphas_cumprod.double().clamp(min=SMALLEST_ALPHA_CUMPROD)
    return ((1 - alphas) / alphas).sqrt()


def alphas_cumprod_from_sigmas(sigmas: Tensor) -> Tensor:
    """abar = 1 / (1 + sigma^2), in the dtype of `sigmas`."""
    return 1 / (1 + sigmas.square())
