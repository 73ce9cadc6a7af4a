"""Walks back that add what every step missed: what they miss by rounding alone must not grow."""

from __future__ import annotations

import torch
from torch import Tensor

ROUNDING = 1e-3
"""Relative to a state's root mean square: a walk that is further away is a different one. A different prompt is a hundredth
away after one step."""


def snap_to_trajectory(x: Tensor, state: Tensor) -> Tensor:
    """x [B, C, H, W], in which the rows that differ from the trajectory's state [1 or B, C, H, W] by rounding alone become it.

    A stored residual or noise map corrects what was known when it was made. Under guidance a difference of 1e-7 can be as
    large as the picture twenty steps later.
    """
    distance = (x - state).square().mean((1, 2, 3), keepdim=True)
    return torch.where(distance < ROUNDING**2 * state.square().mean((1, 2, 3), keepdim=True), state, x)
