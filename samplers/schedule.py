"""The noise levels that a sampler visits: timesteps looked up in the model's sigma table, never computed as t - T//N."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor

Spacing = Literal["leading", "trailing", "linspace"]
Grid = Literal[Spacing, "simple", "given"]
"""How the steps of a schedule were spread: by a spacing, by the rule of a flow (`simple_schedule`), or elsewhere."""

Terminal = Literal["clean", "first"]

SAME_LEVEL = 1e-5
"""Relative tolerance within which two levels are equal, because samplers pass them on in float32."""


@dataclass(frozen=True)
class Schedule:
    """N steps from noise to image.

    Attributes:
        sigmas: [N+1], not increasing: the level before each step and, last, the final level.
        timesteps: N descending indices into the sigma table, one per step; none for given levels, which no table holds.
        spacing: how the timesteps are spaced.
        terminal: "clean" ends at sigma 0; "first" ends at the table's first level (SD's `set_alpha_to_one=False`).
    """

    sigmas: Tensor
    timesteps: tuple[int, ...]
    spacing: Grid
    terminal: Terminal

    @property
    def steps(self) -> int:
        return len(self.sigmas) - 1

    @property
    def ascending_sigmas(self) -> Tensor:
        """[N+1], from image to noise: the levels that an inversion visits."""
        return self.sigmas.flip(0)

    def window(self, start_step: int, end_step: int) -> Schedule:
        """Steps `start_step` (counted from the noise end) to `end_step`, exclusive.

        Raises ValueError unless 0 <= start_step < end_step <= N.
        """
        if not 0 <= start_step < end_step <= self.steps:
            raise ValueError(
                f"start_step {start_step} and end_step {end_step} do not lie in the {self.steps} steps; "
                f"choose 0 <= start_step < end_step <= {self.steps}."
            )
        return replace(
            self,
            sigmas=self.sigmas[start_step : end_step + 1],
            timesteps=self.timesteps[start_step:end_step],
        )


def make_schedule(
    sigma_table: Tensor,
    steps: int,
    spacing: Spacing = "leading",
    terminal: Terminal = "clean",
    steps_offset: int = 1,
) -> Schedule:
    """Spread `steps` timesteps over a sigma table.

    Args:
        sigma_table: [T], ascending; the model's own.
        steps: N, 1 to T.
        spacing: "leading" (SD's default), "trailing" or "linspace", as in diffusers' DDIMScheduler.
        terminal: where the last step ends, see `Schedule`.
        steps_offset: added to every timestep of the leading grid (1 for SD).

    Returns:
        A Schedule whose sigmas have the table's dtype and device.

    Raises:
        ValueError: if N is not in 1..T, a timestep is beyond the table, or a name is unknown.
    """
    if spacing not in get_args(Spacing) or terminal not in get_args(Terminal):
        raise ValueError(
            f"spacing {spacing!r} with terminal {terminal!r} is unknown; "
            f"choose from {get_args(Spacing)} and {get_args(Terminal)}."
        )
    length = len(sigma_table)
    _require_fitting(steps, length)
    timesteps = _timesteps(length, steps, spacing, steps_offset)
    if timesteps[0] >= length:
        raise ValueError(
            f"{steps} steps with leading spacing and steps_offset {steps_offset} begin at timestep "
            f"{timesteps[0]}, beyond the model's last ({length - 1}); choose fewer steps or trailing spacing."
        )
    final = torch.zeros_like(sigma_table[:1]) if terminal == "clean" else sigma_table[:1]
    sigmas = torch.cat([sigma_table[list(timesteps)], final])
    return Schedule(sigmas, timesteps, spacing, terminal)


def simple_schedule(sigma_table: Tensor, steps: int) -> Schedule:
    """Every T/N-th level of a flow's own table [T] from the noise down, and level 0: ComfyUI's scheduler `simple`, which for
    Flux gives the official levels.

    Raises ValueError when N is not in 1..T.
    """
    length = len(sigma_table)
    _require_fitting(steps, length)
    timesteps = tuple(length - 1 - int(step * (length / steps)) for step in range(steps))
    sigmas = torch.cat([sigma_table[list(timesteps)], torch.zeros_like(sigma_table[:1])])
    return Schedule(sigmas, timesteps, "simple", "clean")


def given_schedule(sigmas: Tensor) -> Schedule:
    """The steps of descending levels [N+1] that were chosen elsewhere; they end at the image's level, 0.

    Raises ValueError for others.
    """
    if len(sigmas) < 2 or not bool((sigmas[1:] < sigmas[:-1]).all()) or float(sigmas[-1]) != 0:
        raise ValueError(
            f"the sigmas {[round(float(s), 4) for s in sigmas.flatten()[:6]]}... do not descend strictly to 0; give those of a "
            "scheduler for all steps, not flipped and not split."
        )
    return Schedule(sigmas.float().cpu(), (), "given", "clean")


def step_at(sigmas: Tensor, sigma: Tensor) -> int:
    """The step of descending `sigmas` [N+1] that a network call at `sigma` belongs to; between two levels, the noisier one's."""
    return max(0, int((sigmas[:-1] >= sigma * (1 - SAME_LEVEL)).sum()) - 1)


def _require_fitting(steps: int, length: int) -> None:
    if not 1 <= steps <= length:
        raise ValueError(f"{steps} steps do not fit a model of {length} timesteps; choose 1 to {length}.")


def _timesteps(length: int, steps: int, spacing: Spacing, steps_offset: int) -> tuple[int, ...]:
    """N descending timesteps, as in diffusers' DDIMScheduler.set_timesteps.

    Differs for some N with trailing spacing, where NumPy's floating-point arange gives N+1 entries or misses a tie: this is
    the exact grid.
    """
    if spacing == "leading":
        stride = length // steps
        return tuple(index * stride + steps_offset for index in reversed(range(steps)))
    if spacing == "trailing":
        return tuple(round(length - index * (length / steps)) - 1 for index in range(steps))
    span = (length - 1) / (steps - 1) if steps > 1 else 0.0
    return tuple(round(index * span) for index in reversed(range(steps)))
