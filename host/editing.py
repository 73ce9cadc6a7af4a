"""Continue a Trajectory with its method's way back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ..inversion.aligned import ROUNDING as ALIGNED_ROUNDING
from ..inversion.aligned import aligned_denoise
from ..inversion.methods import METHODS
from ..inversion.result import Asks
from ..inversion.snap import snap_to_trajectory
from ..inversion.trajectory import Trajectory
from .after_step import AddResiduals, Change, HoldSource, PullBack, apply_changes, in_turn, model_changes
from .guidance_patches import GuidanceDirection
from .guided import Guidance, LoopRun, finite, run_loop
from .latents import difference_in
from .negative import walks_as_optimized


@dataclass(frozen=True, kw_only=True)
class EditOptions:
    """How a trajectory is continued.

    Attributes:
        start_step: number of noisiest steps to skip.
        hold_source: keep row 0 of several on a plain trajectory at every step.
        pull_back: for plain trajectories, or None.
        align: evaluate the network where the inversion did, see `inversion.aligned`; for trajectories that know it.
    """

    start_step: int
    hold_source: bool
    pull_back: PullBack | None = None
    align: bool = False


def continue_trajectory(
    guidance: Guidance, trajectory: Trajectory, options: EditOptions, on_step: Callable[[int], None]
) -> tuple[Tensor, int]:
    """Sample from the trajectory's state at the start step, with a row for each row of the conditioning.

    A trajectory of one image is repeated for every row. `on_step` is called with the number of steps done. Returns the samples of a
    LATENT [R, C, H, W] and the network evaluations per row.
    Raises ValueError if the rows do not fit the trajectory's images, the start step is beyond the trajectory, a pull back is
    requested for a trajectory that is not plain, or the model overflows.
    """
    rows = _row_count(guidance, trajectory)
    sigmas = trajectory.remaining_sigmas(options.start_step)
    direction = GuidanceDirection()
    patches: list[Callable[[ModelPatcher], None]] = []
    if options.pull_back is not None:
        if trajectory.kind != "plain":
            raise ValueError(
                f"pull_back is {options.pull_back.strength}, but a trajectory by {trajectory.inversion.method} is not a path "
                "that a state could be pulled back to; set it to 0, or invert with DDIM Invert."
            )
        patches.append(direction.watch)
    if trajectory.kind == "plain":
        patches.append(apply_changes)
    method = METHODS[trajectory.inversion.method]
    kept = {name: trajectory.inversion.settings[name] for name in method.kept}

    def loop(run: LoopRun) -> Tensor:
        levels = sigmas.to(run.latent)
        denoise = run.denoise
        if options.align:
            asks = _asks(guidance.model, trajectory)
            denoise = aligned_denoise(denoise, asks, levels)

        def report(step: int, *state: Tensor) -> None:
            run.report(step, *state)
            on_step(step + 1)

        walk = method.sample_aligned if options.align and method.sample_aligned else method.sample
        sample = partial(walk, denoise, callback=report, **kept)
        if trajectory.kind == "pair":
            result = sample(_pair(guidance, trajectory, options, rows), levels, path=run.path).to(run.latent)
        elif trajectory.kind == "noise maps":
            result = sample(run.latent, levels, path=run.path, **_noise_maps(guidance, trajectory, options, run.latent))
        else:
            changes = _changes(guidance, trajectory, options, direction, run.latent)
            result = sample(run.latent, levels, after_step=in_turn(changes, levels))
        return finite(run.path.to_unit(result, levels[-1]))

    start = _repeated(trajectory.latent_at(options.start_step), rows)
    # Beside a held source, the first edit is what a person waits for.
    shown_row = int(rows > trajectory.latents.shape[1])
    result, evaluations = run_loop(guidance, start, sigmas, loop, patches=patches, shown_row=shown_row)
    return guidance.model.model.process_latent_out(result), evaluations


def _row_count(guidance: Guidance, trajectory: Trajectory) -> int:
    images = trajectory.latents.shape[1]
    rows = max(entry[0].shape[0] for entry in guidance.positive) + (guidance.source is not None)
    if images > 1 and rows > 1 and images != rows:
        raise ValueError(
            f"the prompts have {rows} rows, but the trajectory holds {images} images; give one row for each image, one row "
            "for all, or a trajectory of one image."
        )
    return max(images, rows)


def _repeated(states: Tensor, rows: int, dim: int = 0) -> Tensor:
    return states.repeat_interleave(rows, dim) if states.shape[dim] == 1 else states


def _pair(guidance: Guidance, trajectory: Trajectory, options: EditOptions, rows: int) -> Tensor:
    """Both states [2, R, C, H, W] at the start, float64, in the network's scale."""
    assert trajectory.pairs is not None
    pair = trajectory.pairs[trajectory.steps - options.start_step]
    return _repeated(guidance.model.model.process_latent_in(pair), rows, dim=1)


def _noise_maps(guidance: Guidance, trajectory: Trajectory, options: EditOptions, latent: Tensor) -> dict[str, Any]:
    """The arguments of the noise-map way back besides the state; all in the network's scale, on the device of `latent`."""
    assert trajectory.noise_maps is not None
    process_in, level = guidance.model.model.process_latent_in, trajectory.steps - options.start_step
    maps = _repeated(difference_in(guidance.model, trajectory.noise_maps[:level]).to(latent), len(latent), dim=1)
    states = process_in(trajectory.latents[: level + 2]).to(latent)
    previous = None
    if level < trajectory.steps:
        previous = (_repeated(states[level + 1], len(latent)), trajectory.sigmas[level + 1].to(latent))
    return {"noise_maps": maps, "previous": previous, "states": states[:level]}


def _repeated_walk(states: Tensor, step: int, x: Tensor, sigma: Tensor) -> Tensor:
    """The rows that walk back as they came are kept to the states, so that rounding does not add up."""
    return snap_to_trajectory(x, states[step], ALIGNED_ROUNDING)


def _asks(model: ModelPatcher, trajectory: Trajectory) -> Asks:
    """Where the inversion evaluated the network, in its scale."""
    asks = trajectory.asks
    assert asks is not None
    corrections = None if asks.corrections is None else difference_in(model, asks.corrections)
    return replace(asks, offsets=difference_in(model, asks.offsets), corrections=corrections)


def _changes(
    guidance: Guidance, trajectory: Trajectory, options: EditOptions, direction: GuidanceDirection, latent: Tensor
) -> list[Change]:
    """The changes to x after a step of a plain trajectory, in order: residuals, the pull back, the held source, then the changes
    that the MODEL carries.
    """
    process_in, level = guidance.model.model.process_latent_in, trajectory.steps - options.start_step
    states = process_in(trajectory.latents[: level + 1]).to(latent)[:-1].flip(0)
    changes: list[Change] = []
    null_text = trajectory.null_text
    if options.align:
        changes.append(partial(_repeated_walk, states))
    if null_text is not None and null_text.residuals is not None and walks_as_optimized(guidance, trajectory):
        residuals = difference_in(guidance.model, null_text.residuals).to(latent)[:level].flip(0)
        changes.append(AddResiduals(states, residuals))
    if options.pull_back is not None:
        changes.append(options.pull_back.toward(states, direction))
    if options.hold_source and states.shape[1] == 1:
        changes.append(HoldSource(states))
    return [*changes, *model_changes(guidance.model.model_options["transformer_options"]).changes]
