"""Walks back that add what every step missed: what they miss by rounding alone must not grow."""

from __future__ import annotations

import torch
from torch import Tensor

ROUNDING = 1e-3
"""Of a state's root mean square: further from it a walk is another one. Another prompt is a hundredth away after one step."""


def rejoin(x: Tensor, state: Tensor) -> Tensor:
    """x [B, C, H, W] with the rows that are at the trajectory's state [1 or B, C, H, W] but for rounding put there.

    A stored residual or noise map corrects what was known when it was made. Under guidance a difference of 1e-7 can be as
    large as the picture twenty steps later.
    """
    distance = (x - state).square().mean((1, 2, 3), keepdim=True)
    return torch.where(distance < ROUNDING**2 * state.square().mean((1, 2, 3), keepdim=True), state, x)
