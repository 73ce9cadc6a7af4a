"""Proximal guidance (Han et al. 2023, arXiv 2306.05414): guidance only where the prompts' predictions really differ."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Shrinkage = Literal["soft", "hard"]


def shrink(difference: Tensor, quantile: float, shrinkage: Shrinkage) -> Tensor:
    """The proximal step on the guidance direction [B, C, H, W]: sets small entries to 0.

    The threshold is the `quantile` of |difference|, row by row. soft: sign(d) max(|d| - threshold, 0), the proximal operator
    of the L1 norm (which the published code calls l0; its l1 branch shrinks twice). hard: d where |d| > threshold, the
    proximal operator of the L0 norm. Both scale with the difference, so it may be taken in x0 as well as in eps.
    """
    threshold = _threshold(difference, quantile)
    if shrinkage == "soft":
        return difference.sign() * (difference.abs() - threshold).clamp(min=0)
    return torch.where(difference.abs() > threshold, difference, 0.0)


def pull_back(
    x: Tensor, trajectory_state: Tensor, difference: Tensor, strength: float, quantile: float, dilation: int
) -> Tensor:
    """Inversion guidance: x + strength (trajectory_state - x) wherever guidance leaves the image unchanged.

    x, trajectory_state and difference are [B, C, (T,) H, W] at the same level. Where |difference| exceeds its quantile, and
    within `dilation` latent pixels of that, the image is being edited and x is left alone.
    """
    edited = (difference.abs() > _threshold(difference, quantile)).to(x)
    if dilation:
        planes = edited.flatten(1, -3)
        edited = functional.max_pool2d(planes, 2 * dilation + 1, stride=1, padding=dilation).view_as(edited)
    return x + strength * (trajectory_state - x) * (1 - edited)


def _threshold(difference: Tensor, quantile: float) -> Tensor:
    rows = difference.abs().flatten(1).float()
    return torch.quantile(rows, quantile, dim=1).to(difference.dtype).view(-1, *(1,) * (difference.ndim - 1))
