"""Proximal guidance (Han et al. 2023, arXiv 2306.05414): guidance only where the prompts really differ."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Shrinkage = Literal["soft", "hard"]


def shrink(difference: Tensor, quantile: float, shrinkage: Shrinkage) -> Tensor:
    """The proximal step on the guidance direction [B, C, H, W]: small entries become 0.

    The threshold is each row's own `quantile` of |difference|. soft: sign(d) max(|d| - threshold, 0), the prox of the L1
    norm (what the published code does under the name l0; its l1 branch shrinks twice); hard: d where |d| > threshold, the
    prox of the L0 norm. Scaling the difference scales the result, so that it may be taken in x0 as well as in eps.
    """
    threshold = _threshold(difference, quantile)
    if shrinkage == "soft":
        return difference.sign() * (difference.abs() - threshold).clamp(min=0)
    return torch.where(difference.abs() > threshold, difference, 0.0)


def pull_back(
    x: Tensor, trajectory_state: Tensor, difference: Tensor, strength: float, quantile: float, dilation: int
) -> Tensor:
    """Inversion guidance: x + strength (trajectory_state - x) wherever guidance leaves the image as it is.

    x, trajectory_state, difference: [B, C, H, W] of one level. What |difference| marks above its quantile is edited and
    left alone, with `dilation` latent pixels around it.
    """
    edited = (difference.abs() > _threshold(difference, quantile)).to(x)
    if dilation:
        edited = functional.max_pool2d(edited, 2 * dilation + 1, stride=1, padding=dilation)
    return x + strength * (trajectory_state - x) * (1 - edited)


def _threshold(difference: Tensor, quantile: float) -> Tensor:
    rows = difference.abs().flatten(1).float()
    return torch.quantile(rows, quantile, dim=1).to(difference.dtype).view(-1, *(1,) * (difference.ndim - 1))
