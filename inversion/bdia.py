"""BDIA, bi-directional integration approximation (Zhang et al. 2023, arXiv 2307.10829): exact from two states."""

from __future__ import annotations

import torch
from torch import Tensor

from ..samplers.ddim import Denoise, StepCallback, ddim_step
from ..samplers.path import Path
from .exact import TwoStepRule, exact_levels, invert_two_step, require_pair, sample_two_step
from .result import Inversion


@torch.no_grad()
def invert_bdia(
    denoise: Denoise, x: Tensor, sigmas: Tensor, *, path: Path, gamma: float = 1.0, callback: StepCallback | None = None
) -> Inversion:
    """Invert x [B, C, H, W] along ascending levels sigmas [N+1], with N model calls.

    The paper's step solved for the noisier state: x_{i+1} = D(x_i: i -> i+1) + (x_{i-1} - D(x_i: i -> i-1)) / gamma, where D
    is the DDIM step and x has unit variance. Because every step divides by gamma, errors grow as gamma^-N: 0.5 amplifies them
    by 1e15 over 50 steps. 1 is the stable choice.

    The pairs are (x_i, x_{i-1}) at every level, see `exact`.
    Raises ValueError if gamma is not in (0, 1] or the sigmas do not ascend.
    """
    _require_gamma(gamma)
    sigmas = exact_levels("BDIA inversion", sigmas, "ascend")
    return invert_two_step(denoise, x, sigmas, _rule(1 / gamma, path), path=path, callback=callback)


@torch.no_grad()
def sample_bdia(
    denoise: Denoise,
    pair: Tensor,
    sigmas: Tensor,
    *,
    path: Path,
    gamma: float = 1.0,
    callback: StepCallback | None = None,
) -> Tensor:
    """Take a pair [2, B, C, H, W] at sigmas[0] down the levels sigmas [n+1], with n - 1 model calls.

    x_{i-1} = gamma x_{i+1} + D(x_i: i -> i-1) - gamma D(x_i: i -> i+1), with x in unit variance. The pair already contains the
    result of step 0, so the callback is called for steps 1 to n - 1. Exact from any level of `invert_bdia`.

    Returns x at the last level, float64 [B, C, H, W].
    Raises ValueError if gamma is not in (0, 1], `pair` is not a state pair, or the sigmas do not descend.
    """
    _require_gamma(gamma)
    require_pair("BDIA sampling", pair)
    sigmas = exact_levels("BDIA sampling", sigmas, "descend")
    return sample_two_step(denoise, pair, sigmas, _rule(gamma, path), callback=callback)


def _rule(weight: float, path: Path) -> TwoStepRule:
    """x_new - D(x: to new) = weight (x_old - D(x: to old)): the paper's step, with weight gamma downward and 1/gamma upward.

    The difference is carried from one level to another, so it is taken in the paper's scale, unit variance.
    """

    def rule(x_old: Tensor, x: Tensor, denoised: Tensor, sigma_old: Tensor, sigma: Tensor, sigma_new: Tensor) -> Tensor:
        new = path.to_unit(ddim_step(x, denoised, sigma, sigma_new), sigma_new)
        old = path.to_unit(ddim_step(x, denoised, sigma, sigma_old), sigma_old)
        return path.from_unit(new + weight * (path.to_unit(x_old, sigma_old) - old), sigma_new)

    return rule


def _require_gamma(gamma: float) -> None:
    if not 0 < gamma <= 1:
        raise ValueError(f"BDIA: gamma is {gamma}; give more than 0 and at most 1 (1 is stable, small values blow up).")
