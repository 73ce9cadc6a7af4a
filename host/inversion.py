"""Invert a LATENT with a MODEL: runs a method's loop inside the guider and returns a Trajectory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..inversion.facts import InversionFacts, ModelFacts
from ..inversion.methods import METHODS
from ..inversion.result import Inversion
from ..inversion.trajectory import Trajectory, plain_trajectory, prompts_digest
from ..samplers.noise import noise_source
from ..samplers.schedule import Schedule
from .ascending import require_ascending
from .embedded_guidance import embedded_guidance
from .guided import Guidance, LoopRun, finite, run_loop
from .latents import difference_out


def invert(
    guidance: Guidance,
    samples: Tensor,
    schedule: Schedule,
    facts: ModelFacts,
    name: str,
    given: Mapping[str, Any],
    on_step: Callable[[int], None],
    seed: int = 0,
) -> Trajectory:
    """The trajectory of a LATENT's samples [B, C, H, W] by the method `name` of `inversion.methods`.

    `given` holds its settings, see `Method.arguments`; `on_step` is called with the number of steps done; `seed` is that of
    the noise, for a method that draws noise.
    Raises ValueError when the model overflows, and for caches and keyframes that follow a falling noise level only where the
    method evaluates the network at rising ones.
    """
    method = METHODS[name]
    if method.ascends:
        require_ascending(guidance)
    settings = method.arguments(given)
    drawn = {"noise": noise_source(samples.shape, (seed,))} if method.draws_noise else {}

    def loop(run: LoopRun) -> Inversion:
        sigmas = schedule.ascending_sigmas.to(run.latent)
        # The references read the image as the unit-variance state of the first level; at level 0 it is the same.
        x = run.path.from_unit(run.latent, sigmas[0])

        def report(step: int, *state: Tensor) -> None:
            run.report(step, *state)
            on_step(step + 1)

        found = method.invert(run.denoise, x, sigmas, path=run.path, callback=report, **settings, **drawn)
        finite(found.states)
        return found

    found, evaluations = run_loop(guidance, samples, schedule.ascending_sigmas, loop)
    process_out = guidance.model.model.process_latent_out
    states = process_out(found.states)
    if schedule.terminal == "clean":
        # The given samples: a round trip through the latent format changes them slightly.
        states = torch.cat([samples[None].to(states), states[1:]])
    residuals = torch.zeros(schedule.steps) if found.residuals is None else found.residuals
    made = InversionFacts(
        method=name,
        steps=schedule.steps,
        spacing=schedule.spacing,
        terminal=schedule.terminal,
        cfg=guidance.cfg,
        prompts=prompts_digest(
            [entry[0] for entry in [*guidance.positive, *guidance.negative] if entry[0] is not None]
        ),
        fixed_point_iterations=settings.get("fixed_point_iterations", 0),
        unet_evaluations=evaluations,
        settings={setting: settings[setting] for setting in method.kept},
        guidance=embedded_guidance(guidance.model, guidance.positive),
    )
    trajectory = plain_trajectory(states, schedule.ascending_sigmas, residuals, facts, made)
    if found.asks is not None and method.stores == "plain":
        trajectory = trajectory.with_asks(
            replace(
                found.asks,
                offsets=difference_out(guidance.model, found.asks.offsets),
                corrections=None
                if found.asks.corrections is None
                else difference_out(guidance.model, found.asks.corrections),
            )
        )
    if found.pairs is not None:
        trajectory = trajectory.with_pairs(process_out(found.pairs))
    if found.noise_maps is not None:
        trajectory = trajectory.with_noise_maps(difference_out(guidance.model, found.noise_maps))
    return trajectory
