"""Negative-prompt inversion (Miyake et al. 2023, arXiv 2305.16807): the source prompt in the negative's place."""

from __future__ import annotations

import math

import torch
from torch import Tensor

PARALLEL = 1e-6


def interpolate_embeddings(source: Tensor, empty: Tensor, amount: float) -> Tensor:
    """From the source prompt's embedding (amount 0) to the empty prompt's (1), both [1, ..., D], on the great circle.

    With the source prompt itself guidance has nothing to add, whatever its scale: eps_null + w (eps_text - eps_null) is
    eps_text, and the path at cfg 1 is walked back. In between (Han et al. 2023, arXiv 2306.05414, with its slerp over the
    whole tensor) edits get freer. Token sequences [1, T, D] of different length are repeated to a common one, which
    attention does not notice.
    """
    if source.ndim == 3:
        length = math.lcm(source.shape[1], empty.shape[1])
        source, empty = (tensor.repeat(1, length // tensor.shape[1], 1) for tensor in (source, empty))
    start, end = source.flatten().double(), empty.flatten().double()
    angle = torch.arccos((start @ end / (start.norm() * end.norm())).clamp(-1, 1))
    # No great circle, or more than one: parallel, opposite, or zeroed out (where the angle is NaN).
    if not angle.sin() >= PARALLEL:
        return torch.lerp(source, empty, amount)
    mixed = (torch.sin((1 - amount) * angle) * start + torch.sin(amount * angle) * end) / torch.sin(angle)
    return mixed.to(source.dtype).view_as(source)
