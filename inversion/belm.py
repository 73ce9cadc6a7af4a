"""O-BELM, the bi-directional explicit linear multistep sampler with optimal coefficients (Wang et al. 2024, arXiv
2410.07273): exact from two states, second order, no parameters.

The paper's h_i = sigma_i / alpha_i - sigma_{i-1} / alpha_{i-1} is, in the variance-exploding scale, the difference of two
levels, and its factors alpha_i / alpha_j vanish. The formula in (x, level, direction) is the same on every path.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..samplers.ddim import Denoise, StepCallback
from ..samplers.path import Path, direction
from .exact import exact_levels, invert_two_step, require_pair, sample_two_step
from .result import Inversion


@torch.no_grad()
def invert_belm(
    denoise: Denoise, x: Tensor, sigmas: Tensor, *, path: Path, callback: StepCallback | None = None
) -> Inversion:
    """Invert x [B, C, H, W] along ascending levels sigmas [N+1], with N model calls.

    The first step is DDIM's (the network is evaluated at the destination level with the rescaled state); the others follow
    `_rule`. The pairs are (x_i, x_{i-1}) at every level, see `exact`.
    Raises ValueError if the sigmas do not ascend.
    """
    sigmas = exact_levels("O-BELM inversion", sigmas, "ascend")
    return invert_two_step(denoise, x, sigmas, _rule, path=path, callback=callback)


@torch.no_grad()
def sample_belm(
    denoise: Denoise, pair: Tensor, sigmas: Tensor, *, path: Path, callback: StepCallback | None = None
) -> Tensor:
    """Take a pair [2, B, C, H, W] at sigmas[0] down the levels sigmas [n+1], with n - 1 model calls.

    The pair already contains the result of step 0, so the callback is called for steps 1 to n - 1. Exact from any level of
    `invert_belm`. The formula does not depend on `path`, which is accepted because all pair methods are called alike.

    Returns x at the last level, float64 [B, C, H, W].
    Raises ValueError if `pair` is not a state pair or the sigmas do not descend.
    """
    require_pair("O-BELM sampling", pair)
    return sample_two_step(denoise, pair, exact_levels("O-BELM sampling", sigmas, "descend"), _rule, callback=callback)


def _rule(x_old: Tensor, x: Tensor, denoised: Tensor, sigma_old: Tensor, sigma: Tensor, sigma_new: Tensor) -> Tensor:
    """x_new = r^2 x_old + (1 - r^2) x + (1 + r) (sigma_new - sigma) d, where r is the ratio of this step to the previous one.

    Downward, r = h_i / h_{i+1} and this is the paper's O-BELM step; upward, r is the reciprocal and this is the same step
    solved for x_{i+1}.
    """
    step = sigma_new - sigma
    ratio = step / (sigma - sigma_old)
    return ratio**2 * x_old + (1 - ratio**2) * x + (1 + ratio) * step * direction(x, denoised, sigma)
