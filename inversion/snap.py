"""Keep rounding errors from growing on a way back that corrects every step."""

from __future__ import annotations

import torch
from torch import Tensor

ROUNDING = 1e-3
"""Relative to a state's root mean square. A larger difference is not rounding: a different prompt differs by 0.01 after one
step."""


def snap_to_trajectory(x: Tensor, state: Tensor, rounding: float = ROUNDING) -> Tensor:
    """Replace the rows of x [B, C, H, W] that differ from the trajectory's state [1 or B, C, H, W] only by rounding by that state.

    A stored residual or noise map only corrects the errors that were known when it was made. Under guidance, a difference of 1e-7
    can grow to the size of the picture within twenty steps.
    """
    within_a_row = tuple(range(1, x.ndim))
    distance = (x - state).square().mean(within_a_row, keepdim=True)
    return torch.where(distance < rounding**2 * state.square().mean(within_a_row, keepdim=True), state, x)
