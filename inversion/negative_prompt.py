"""Negative-prompt inversion (Miyake et al. 2023, arXiv 2305.16807): the source prompt takes the negative's place."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

PARALLEL = 1e-6


def of_equal_length(embeddings: Sequence[Tensor]) -> list[Tensor]:
    """Embeddings [B, T, D], each repeated along T to a common length, which does not change the attention to it."""
    length = math.lcm(*(each.shape[1] for each in embeddings))
    return [each.repeat(1, length // each.shape[1], 1) for each in embeddings]


def interpolate_embeddings(source: Tensor, empty: Tensor, amount: float) -> Tensor:
    """From the source prompt's embedding (amount 0) to the empty prompt's (1), both [1, ..., D], along the great circle.

    With the source prompt as negative, guidance adds nothing, whatever its scale: eps_null + w (eps_text - eps_null) equals
    eps_text, and sampling follows the cfg 1 path back. Values in between (Han et al. 2023, arXiv 2306.05414, whose slerp covers the
    whole tensor) leave edits more freedom. Token sequences [1, T, D] may differ in length, see `of_equal_length`.
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
