"""O-BELM, the bi-directional explicit linear multistep sampler with optimal coefficients (Wang et al. 2024, arXiv
2410.07273): exact from two states, second order, without a parameter.

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

    The first step is DDIM's (the network evaluated at the destination level with the rescaled state), the others
    `_rule`'s. Its pairs are (x_i, x_{i-1}) at every level, see `exact`.

    Raises ValueError when the sigmas do not ascend.
    """
    sigmas = exact_levels("O-BELM inversion", sigmas, "ascend")
    return invert_two_step(denoise, x, sigmas, _rule, path=path, callback=callback)


@torch.no_grad()
def sample_belm(
    denoise: Denoise, pair: Tensor, sigmas: Tensor, *, path: Path, callback: StepCallback | None = None
) -> Tensor:
    """Walk a pair [2, B, C, H, W] at sigmas[0] down the levels sigmas [n+1], with n - 1 model calls.

    The pair already holds where step 0 leads, so the callback is called at the steps 1 to n - 1. Exact from any level of
    `invert_belm`, and the same on every `path`, which is taken because the way back from any pair is.

    Returns x at the last level, float64 [B, C, H, W].
    Raises ValueError when the pair is not one or the sigmas do not descend.
    """
    require_pair("O-BELM sampling", pair)
    return sample_two_step(denoise, pair, exact_levels("O-BELM sampling", sigmas, "descend"), _rule, callback=callback)


def _rule(x_old: Tensor, x: Tensor, denoised: Tensor, sigma_old: Tensor, sigma: Tensor, sigma_new: Tensor) -> Tensor:
    """x_new = r^2 x_old + (1 - r^2) x + (1 + r) (sigma_new - sigma) d, with r the ratio of this step to the last one.

    Downwards r = h_i / h_{i+1}, which is the paper's O-BELM step; upwards r is its reciprocal, and the same formula is
    that step solved for x_{i+1}.
    """
    step = sigma_new - sigma
    ratio = step / (sigma - sigma_old)
    return ratio**2 * x_old + (1 - ratio**2) * x + (1 + ratio) * step * direction(x, denoised, sigma)
