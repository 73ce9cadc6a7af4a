"""What every inversion gives: the states that it visited, and what its way back needs besides them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

Kind = Literal["plain", "pair", "noise maps"]
"""What it takes to walk back from a state: nothing else, both states of an exact method, or the noise of each step."""


@dataclass(frozen=True)
class Inversion:
    """What an inversion along N+1 levels found.

    Attributes:
        states: [N+1, B, C, H, W]; states[0] is the input (of a noise-map method up to the rounding of one sum), states[N]
            the noise end.
        residuals: [N] of an iterated method: for each step the root mean square of its last change of the state, in units of
            unit-variance states (`Path.to_unit`): how far it is from the fixed point.
        pairs: float64 [N+1, 2, B, C, H, W] of an exact method, see `inversion.exact`; the states are the first of each.
        noise_maps: [N, B, C, H, W] of a noise-map method; entry i is what the step from level i+1 down to level i adds to
            its deterministic part, in units of the state: the papers' sigma_t z_t.
    """

    states: Tensor
    residuals: Tensor | None = None
    pairs: Tensor | None = None
    noise_maps: Tensor | None = None
