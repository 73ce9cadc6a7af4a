"""How the iterations of a fixed point z = g(z) are combined: plainly, by averaging, or with Anderson acceleration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

Acceleration = Literal["none", "two_point", "mean", "anderson"]

ANDERSON_DEPTH = 3
RIDGE = 1e-10


def next_estimate(
    queries: Sequence[Tensor], answers: Sequence[Tensor], acceleration: Acceleration, last: bool
) -> Tensor:
    """Where to evaluate g next, from all z_k so far (`queries`) and g(z_k) (`answers`), each [B, C, H, W].

    none: g(z_k). two_point: the mean of the last two answers (AIDI_E of Pan et al. 2023, arXiv 2309.04907, section 3.2).
    mean: g(z_k), and for the `last` one the mean of all answers (the averaging of ReNoise, Garibi et al. 2024, arXiv
    2403.14602, section 3.3). anderson: AIDI_A, see `_anderson`.
    """
    if acceleration == "two_point" and len(answers) > 1:
        return (answers[-1] + answers[-2]) / 2
    if acceleration == "mean" and last:
        return torch.stack(list(answers)).mean(dim=0)
    if acceleration == "anderson" and len(answers) > 1:
        return _anderson(torch.stack(list(queries[-ANDERSON_DEPTH:])), torch.stack(list(answers[-ANDERSON_DEPTH:])))
    return answers[-1]


def _anderson(queries: Tensor, answers: Tensor) -> Tensor:
    """The affine combination of the last answers [m, B, C, H, W] with the smallest combined residual g(z) - z, row by row.

    Anderson 1965; Walker and Ni 2011, eq. 1.1 with beta 1.
    """
    # In float64 on the CPU, because not every device supports it; a few residuals cost little next to the network.
    residuals = (answers - queries).flatten(2).transpose(0, 1).cpu().double()
    gram = residuals @ residuals.transpose(1, 2)
    scale = gram.diagonal(dim1=1, dim2=2).mean(dim=1).clamp(min=torch.finfo(torch.float64).tiny)
    identity = torch.eye(gram.shape[1], dtype=gram.dtype)
    weights = torch.linalg.solve(gram / scale[:, None, None] + RIDGE * identity, torch.ones_like(gram[:, :, :1]))
    weights = (weights / weights.sum(dim=1, keepdim=True)).to(answers)
    return torch.einsum("bm,mb...->b...", weights[:, :, 0], answers)
