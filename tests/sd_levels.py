"""Stable Diffusion's noise levels as its training made them, in float64 and without ComfyUI."""

from __future__ import annotations

import torch
from retrace_pack.samplers.noise_levels import sigmas_from_alphas_cumprod
from torch import Tensor

TIMESTEPS, BETA_START, BETA_END = 1000, 0.00085, 0.012


def sd_alphas_cumprod() -> Tensor:
    """abar_t = prod(1 - beta_s, s <= t), [T], with sqrt(beta) linear."""
    betas = torch.linspace(BETA_START**0.5, BETA_END**0.5, TIMESTEPS, dtype=torch.float64).square()
    return torch.cumprod(1 - betas, dim=0)


def with_zero_terminal_snr(alphas_cumprod: Tensor) -> Tensor:
    """sqrt(abar) shifted and scaled so that the last entry is 0 and the first stays (Lin et al. 2024, algorithm 1)."""
    roots = alphas_cumprod.sqrt()
    return ((roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])).square()


def sd_sigmas(zero_terminal_snr: bool = False) -> Tensor:
    """The table of sigmas, [T] ascending."""
    alphas = sd_alphas_cumprod()
    return sigmas_from_alphas_cumprod(with_zero_terminal_snr(alphas) if zero_terminal_snr else alphas)
