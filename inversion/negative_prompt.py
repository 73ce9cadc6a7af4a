"""Negative-prompt inversion (Miyake et al. 2023, arXiv 2305.16807): the source prompt in the negative's place."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

PARALLEL = 1e-6


def of_equal_length(embeddings: Sequence[Tensor]) -> list[Tensor]:
    """Embeddings [B, T, D], each repeated along T to a common length, which leaves the attention to it as it is."""
    length = math.lcm(*(each.shape[1] for each in embeddings))
    return [each.repeat(1, length // each.shape[1], 1) for each in embeddings]


def interpolate_embeddings(source: Tensor, empty: Tensor, amount: float) -> Tensor:
    """From the source prompt's embedding (amount 0) to the empty prompt's (1), both [1, ..., D], on the great circle.

    With the source prompt itself guidance has nothing to add, whatever its scale: eps_null + w (eps_text - eps_null) is
    eps_text, and the path at cfg 1 is walked back. In between (Han et al. 2023, arXiv 2306.05414, with its slerp over the
    whole tensor) edits get freer. Token sequences [1, T, D] may differ in length, see `of_equal_length`.
    """
    if source.ndim == 3:
        source, empty = of_equal_length([source, empty])
    start, end = source.flatten().double(), empty.flatten().double()
    angle = torch.arccos((start @ end / (start.norm() * end.norm())).clamp(-1, 1))
    # No great circle, or more than one: parallel, opposite, or zeroed out (where the angle is NaN).
    if not angle.sin() >= PARALLEL:
        return torch.lerp(source, empty, amount)
    mixed = (torch.sin((1 - amount) * angle) * start + torch.sin(amount * angle) * end) / torch.sin(angle)
    return mixed.to(source.dtype).view_as(source)
