"""What every inversion returns: the states it visited, and what the way back needs besides them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

Kind = Literal["plain", "pair", "noise maps"]
"""What the way back needs besides a state: nothing, the second state of an exact method, or the noise of each step."""


@dataclass(frozen=True)
class Asks:
    """Where an inversion evaluated the network, for the aligned way back (`inversion.aligned`). Entry i is of the step between the
    levels i and i+1.

    Attributes:
        offsets: [N, B, C, H, W], what the network was given minus the state at level i+1.
        levels: [N], at which it was evaluated: those of the states, or between them.
        corrections: [N, B, C, H, W], what is to be added to the image that the directions found there give, or None where the
            inversion stepped by just these directions.
    """

    offsets: Tensor
    levels: Tensor
    corrections: Tensor | None = None


@dataclass(frozen=True)
class Inversion:
    """The result of an inversion along N+1 levels.

    Attributes:
        states: [N+1, B, C, H, W]; states[0] is the input (for noise maps, up to the rounding of one sum), states[N] the noise
            end.
        residuals: [N], for iterated methods: the root mean square of the last change of each step's state, in unit-variance
            units (`Path.to_unit`); it measures the distance to the fixed point.
        pairs: float64 [N+1, 2, B, C, H, W], for exact methods, see `inversion.exact`; the states are the first of each pair.
        noise_maps: [N, B, C, H, W], for noise-map methods: entry i is what the step from level i+1 to level i adds to its
            deterministic part, in units of the state (sigma_t z_t in the papers).
        asks: where a plain method evaluated the network.
    """

    states: Tensor
    residuals: Tensor | None = None
    pairs: Tensor | None = None
    noise_maps: Tensor | None = None
    asks: Asks | None = None
