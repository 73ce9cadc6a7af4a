"""The changes to x after a step of Edit Sample, their order, and how a MODEL carries them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ..inversion.snap import snap_to_trajectory
from ..samplers.ddim import AfterStep
from ..samplers.proximal import pull_back
from .guidance_patches import GuidanceDirection

Change = Callable[[int, Tensor, Tensor], Tensor]
"""(step, x and sigma after the step) -> the x to continue with."""

KEY = "retrace_after_step"


@dataclass(frozen=True)
class ModelChanges:
    """The entry `KEY` in a MODEL's transformer_options.

    Attributes:
        changes: those of the MODEL's patches, in the order of their nodes.
        applied: whether the running sampler applies them to x. Under any other sampler a patch acts on the model's prediction
            instead.
    """

    changes: tuple[Change, ...] = ()
    applied: bool = False


def model_changes(transformer_options: dict[str, Any]) -> ModelChanges:
    """The changes in a MODEL's or a running network's transformer_options."""
    return transformer_options.get(KEY, ModelChanges())


def add_change(model: ModelPatcher, change: Change) -> None:
    """Add a change after those of earlier patches; modifies the MODEL in place."""
    options = model.model_options["transformer_options"]
    before = model_changes(options)
    options[KEY] = replace(before, changes=(*before.changes, change))


def apply_changes(model: ModelPatcher) -> None:
    """Declare that the sampler of the next run applies the changes; modifies the MODEL in place."""
    options = model.model_options["transformer_options"]
    options[KEY] = replace(model_changes(options), applied=True)


@dataclass(frozen=True)
class AddResiduals:
    """Adds by how much each step of the null-text optimization missed the trajectory.

    states, residuals: [n, B, C, H, W] at the levels where the steps end, in the order of the steps.
    """

    states: Tensor
    residuals: Tensor

    def __call__(self, step: int, x: Tensor, sigma: Tensor) -> Tensor:
        return snap_to_trajectory(x + self.residuals[step], self.states[step])


@dataclass(frozen=True, kw_only=True)
class PullBack:
    """Inversion guidance at levels up to `below_sigma`, see `samplers.proximal.pull_back`."""

    strength: float
    below_sigma: float
    quantile: float
    dilation: int

    def toward(self, states: Tensor, direction: GuidanceDirection) -> Change:
        """The change for a run whose steps end at `states` [n, B, C, H, W]; `direction` provides its guidance direction."""

        def change(step: int, x: Tensor, sigma: Tensor) -> Tensor:
            if direction.difference is None or sigma > self.below_sigma:
                return x
            return pull_back(x, states[step], direction.difference, self.strength, self.quantile, self.dilation)

        return change


@dataclass(frozen=True)
class HoldSource:
    """Keeps row 0, the source, on the trajectory. states: [n, 1, C, H, W] at the levels where the steps end.

    With a single row there is no edit beside the source, and holding it would leave nothing to sample.
    """

    states: Tensor

    def __call__(self, step: int, x: Tensor, sigma: Tensor) -> Tensor:
        return torch.cat([self.states[step], x[1:]]) if len(x) > 1 else x


def in_turn(changes: Sequence[Change], sigmas: Tensor) -> AfterStep:
    """Apply all changes in order, in a loop over the descending `sigmas` [n+1]."""

    def after_step(step: int, x: Tensor) -> Tensor:
        for change in changes:
            x = change(step, x, sigmas[step + 1])
        return x

    return after_step
