"""Sampling on from a Trajectory, whatever kind it is: a plain state, an exact pair, or a state and its noise maps."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ..inversion.bdia import sample_bdia
from ..inversion.belm import sample_belm
from ..inversion.edict import sample_edict
from ..inversion.edit_friendly import sample_edit_friendly
from ..inversion.rejoin import rejoin
from ..inversion.trajectory import Trajectory
from ..samplers.ddim import Denoise, StepCallback, sample_ddim
from ..samplers.prediction import variance_preserving
from ..samplers.proximal import pull_back
from .conditioning import stack_rows
from .guidance_patches import GuidanceDirection
from .guided import Conditioning, EvaluationCount, Guidance, OwnLoop, finite, run_guided
from .naming import LOGGER
from .null_text import is_null_text_of, null_text_conditioning

AFTER_STEP, ANNOUNCEMENT = "retrace_after_step", "retrace_edit_sample"

EveryStep = Callable[[int, Tensor, Tensor], Tensor]
"""(step, x after it, its sigma) -> the x to go on with."""


@dataclass(frozen=True)
class PullBack:
    """Inversion guidance, see `samplers.proximal.pull_back`: at levels up to `below_sigma`."""

    strength: float
    below_sigma: float
    quantile: float
    dilation: int


@dataclass(frozen=True)
class EditOptions:
    """How a trajectory is continued.

    Attributes:
        start_step: steps after the noise end to begin at.
        hold_source: keep row 0 on a plain trajectory at every step, where there are several rows.
        pull_back: for plain trajectories, or None.
    """

    start_step: int
    hold_source: bool
    pull_back: PullBack | None = None


def continue_trajectory(guidance: Guidance, trajectory: Trajectory, options: EditOptions) -> tuple[Tensor, int]:
    """Sample from the trajectory's state at the start step; a row for each row of the conditioning.

    A trajectory of one image is repeated for every row. Returns the samples of a LATENT [R, C, H, W] and the network
    evaluations for one row. Raises ValueError when the rows do not fit the trajectory's images or the start step lies
    beyond it, when a pull back is asked of another kind than a plain one, or when the model overflows.
    """
    rows = _row_count(guidance, trajectory)
    start = _repeated(trajectory.latent_at(options.start_step), rows)
    level = trajectory.steps - options.start_step
    process_in = guidance.model.model.process_latent_in
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
        patches.append(_announce)

    def loop(denoise: Denoise, latent: Tensor, report: StepCallback) -> Tensor:
        sigmas = trajectory.remaining_sigmas(options.start_step).to(latent)
        if trajectory.kind == "pair":
            result = _continue_pair(denoise, latent, process_in, trajectory, level, report)
        elif trajectory.kind == "noise maps":
            result = _continue_noise_maps(denoise, latent, process_in, trajectory, level, report)
        else:
            path = process_in(trajectory.latents[: level + 1]).to(latent)
            changes = _after_steps(guidance, path, trajectory, options, direction)

            def after_step(step: int, x: Tensor) -> Tensor:
                for change in changes:
                    x = change(step, x, sigmas[step + 1])
                return x

            result = sample_ddim(denoise, latent, sigmas, callback=report, after_step=after_step)
        return finite(variance_preserving(result, sigmas[-1]))

    count = EvaluationCount()
    samples = run_guided(
        guidance,
        count,
        start,
        torch.zeros_like(start),
        OwnLoop(loop),
        trajectory.remaining_sigmas(options.start_step),
        seed=0,
        patches=patches,
    )
    return samples, count.rows // rows


def with_source_row(source: Conditioning, positive: Conditioning, trajectory: Trajectory) -> Conditioning:
    """The source prompt as the first row, the edit's after it. Raises ValueError for a trajectory of several images."""
    images = trajectory.latents.shape[1]
    if images > 1:
        raise ValueError(
            f"a source runs beside the edit of one image, but the trajectory holds {images} images; disconnect source, or "
            "invert the images one at a time."
        )
    return stack_rows([source, positive], ["source", "positive"])


def resolve_negative(
    trajectory: Trajectory, positive: Conditioning, negative: Conditioning | None, cfg: float
) -> Conditioning:
    """The given negative, else (at cfg 1, where none is asked) the positive, else the trajectory's null embeddings.

    Raises ValueError when there is nothing to guide away from, or when the null embeddings were made with more than a prompt.
    """
    if negative is not None:
        return negative
    if cfg == 1:
        return positive
    if trajectory.null_text is not None:
        if trajectory.null_text.settings:
            raise ValueError(
                f"the trajectory's null embeddings were made with {', '.join(trajectory.null_text.settings)} on the negative, "
                "which the trajectory does not keep; connect that negative to Null Text Conditioning, and what comes out of it "
                "to negative here."
            )
        if trajectory.null_text.cfg != cfg:
            logging.getLogger(LOGGER).warning(
                "the null embeddings were made for cfg %g, this edit has cfg %g; "
                "the reconstruction will be less exact.",
                trajectory.null_text.cfg,
                cfg,
            )
        return null_text_conditioning(trajectory, None)
    raise ValueError(
        f"cfg is {cfg:g}, but there is no negative and the trajectory has no null embeddings; connect a negative, "
        "send the trajectory through Null Text Optimize, or set cfg to 1."
    )


def _row_count(guidance: Guidance, trajectory: Trajectory) -> int:
    images = trajectory.latents.shape[1]
    rows = max(entry[0].shape[0] for entry in guidance.positive)
    if images > 1 and rows > 1 and images != rows:
        raise ValueError(
            f"the prompts have {rows} rows, but the trajectory holds {images} images; give one row for each image, one row "
            "for all, or a trajectory of one image."
        )
    return max(images, rows)


def _repeated(states: Tensor, rows: int, dim: int = 0) -> Tensor:
    return states.repeat_interleave(rows, dim) if states.shape[dim] == 1 else states


def _announce(model: ModelPatcher) -> None:
    model.model_options["transformer_options"][ANNOUNCEMENT] = True


def _continue_pair(
    denoise: Denoise,
    latent: Tensor,
    process_in: Callable[[Tensor], Tensor],
    trajectory: Trajectory,
    level: int,
    report: StepCallback,
) -> Tensor:
    def ask(state: Tensor, sigma: Tensor) -> Tensor:
        return denoise(state.to(latent), sigma.to(latent))

    assert trajectory.pairs is not None
    pair = _repeated(process_in(trajectory.pairs[level]), len(latent), dim=1)
    sigmas = trajectory.sigmas[: level + 1].flip(0).double()
    settings = trajectory.inversion.settings
    if trajectory.inversion.method == "edict":
        result = sample_edict(ask, pair, sigmas, settings["mixing"], report)
    elif trajectory.inversion.method == "bdia":
        result = sample_bdia(ask, pair, sigmas, settings["gamma"], report)
    else:
        result = sample_belm(ask, pair, sigmas, report)
    return result.to(latent)


def _continue_noise_maps(
    denoise: Denoise,
    latent: Tensor,
    process_in: Callable[[Tensor], Tensor],
    trajectory: Trajectory,
    level: int,
    report: StepCallback,
) -> Tensor:
    assert trajectory.noise_maps is not None
    maps = _repeated(process_in(trajectory.noise_maps[:level]).to(latent), len(latent), dim=1)
    states = process_in(trajectory.latents[: level + 2]).to(latent)
    previous = None
    if level < trajectory.steps:
        previous = (_repeated(states[level + 1], len(latent)), trajectory.sigmas[level + 1].to(latent))
    settings = trajectory.inversion.settings
    sigmas = trajectory.sigmas[: level + 1].flip(0).to(latent)
    return sample_edit_friendly(
        denoise, latent, sigmas, maps, int(settings["order"]), settings["eta"], previous, states[:level], report
    )


def _after_steps(
    guidance: Guidance,
    path: Tensor,
    trajectory: Trajectory,
    options: EditOptions,
    direction: GuidanceDirection,
) -> Sequence[EveryStep]:
    """What changes x after a step, in this order: residuals, the pull back, the held source, then patches of the MODEL.

    path: [n+1, B, C, H, W] ascending, in the network's scale; the step with index i ends at its level n - 1 - i.
    """
    changes: list[EveryStep] = []
    last = len(path) - 2
    null_text = trajectory.null_text
    if null_text is not None and null_text.residuals is not None and _walks_as_optimised(guidance, trajectory):
        residuals = guidance.model.model.process_latent_in(null_text.residuals).to(path)
        changes.append(lambda step, x, sigma: rejoin(x + residuals[last - step], path[last - step]))
    pull = options.pull_back
    if pull is not None:

        def pulled(step: int, x: Tensor, sigma: Tensor) -> Tensor:
            if direction.difference is None or sigma > pull.below_sigma:
                return x
            return pull_back(x, path[last - step], direction.difference, pull.strength, pull.quantile, pull.dilation)

        changes.append(pulled)
    if options.hold_source and path.shape[1] == 1:
        # With one row alone there is no edit beside the source, and holding it would leave nothing to sample.
        changes.append(lambda step, x, sigma: torch.cat([path[last - step], x[1:]]) if len(x) > 1 else x)
    changes.extend(guidance.model.model_options["transformer_options"].get(AFTER_STEP, []))
    return changes


def _walks_as_optimised(guidance: Guidance, trajectory: Trajectory) -> bool:
    """Whether the steps are those of the optimisation: residuals are what these miss the trajectory by, and no others."""
    null_text = trajectory.null_text
    return null_text is not None and null_text.cfg == guidance.cfg and is_null_text_of(guidance.negative, trajectory)
