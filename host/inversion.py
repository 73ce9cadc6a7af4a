"""Inversions of a LATENT by a MODEL: each method's loop inside the guider, its result as a Trajectory."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..inversion.bdia import invert_bdia
from ..inversion.belm import invert_belm
from ..inversion.ddim import invert_ddim
from ..inversion.edict import invert_edict
from ..inversion.edit_friendly import invert_edit_friendly
from ..inversion.exact import ExactMethod
from ..inversion.fixed_point import Acceleration
from ..inversion.trajectory import InversionFacts, ModelFacts, Trajectory, plain_trajectory, prompts_digest
from ..samplers.ddim import Denoise, StepCallback
from ..samplers.noise import noise_source
from ..samplers.prediction import variance_exploding
from ..samplers.schedule import Schedule
from .ascending import require_ascending
from .guided import EvaluationCount, Guidance, OwnLoop, finite, run_guided

Walk = Callable[[Denoise, Tensor, StepCallback], Tensor]
"""(the guided model, x at the first level, report) -> what an inversion visited, [N+1, ..., B, C, H, W]."""


def invert_latent(
    guidance: Guidance,
    samples: Tensor,
    schedule: Schedule,
    facts: ModelFacts,
    fixed_point_iterations: int,
    acceleration: Acceleration = "none",
) -> Trajectory:
    """DDIM inversion of samples [B, C, H, W] (a LATENT's); N * (1 + fixed_point_iterations) guided model calls.

    Raises ValueError for caches and keyframes that only follow a falling noise level.
    """
    require_ascending(guidance)
    residuals = torch.zeros(schedule.steps)

    def walk(denoise: Denoise, x: Tensor, report: StepCallback) -> Tensor:
        nonlocal residuals
        inversion = invert_ddim(
            denoise, x, schedule.ascending_sigmas.to(x), fixed_point_iterations, report, acceleration
        )
        residuals = inversion.residuals
        return inversion.states

    states, evaluations = _walk(guidance, samples, schedule, walk)
    method = _facts("ddim", guidance, schedule, evaluations, fixed_point_iterations=fixed_point_iterations)
    return plain_trajectory(
        _with_own_image(states, samples, schedule), schedule.ascending_sigmas, residuals, facts, method
    )


def invert_exact(
    guidance: Guidance,
    samples: Tensor,
    schedule: Schedule,
    facts: ModelFacts,
    method: ExactMethod,
    mixing: float,
    gamma: float,
) -> Trajectory:
    """Inversion by a method whose way back is exact at any cfg; N guided model calls, 2 N for EDICT.

    Raises ValueError for caches and keyframes that only follow a falling noise level.
    """
    require_ascending(guidance)

    def walk(denoise: Denoise, x: Tensor, report: StepCallback) -> Tensor:
        def ask(state: Tensor, sigma: Tensor) -> Tensor:
            return denoise(state.to(x), sigma.to(x))

        # float64 lives on the CPU: not every device has it, and a state is small beside the network.
        state, sigmas = x.cpu().double(), schedule.ascending_sigmas.cpu().double()
        if method == "edict":
            return invert_edict(ask, state, sigmas, mixing, report)
        if method == "bdia":
            return invert_bdia(ask, state, sigmas, gamma, report)
        return invert_belm(ask, state, sigmas, report)

    pairs, evaluations = _walk(guidance, samples, schedule, walk)
    settings = {"edict": {"mixing": mixing}, "bdia": {"gamma": gamma}, "o-belm": {}}[method]
    plain = plain_trajectory(
        _with_own_image(pairs[:, 0], samples, schedule),
        schedule.ascending_sigmas,
        torch.zeros(schedule.steps),
        facts,
        _facts(method, guidance, schedule, evaluations, settings=settings),
    )
    return plain.with_pairs(pairs)


def invert_with_noise_maps(
    guidance: Guidance,
    samples: Tensor,
    schedule: Schedule,
    facts: ModelFacts,
    order: int,
    eta: float,
    seed: int,
) -> Trajectory:
    """Edit-friendly inversion (order 1) or that of LEDITS++ (order 2); N guided model calls, from the noise end down."""
    noise_maps = torch.zeros(0)

    def walk(denoise: Denoise, x: Tensor, report: StepCallback) -> Tensor:
        nonlocal noise_maps
        source = noise_source(x.shape, (seed,))
        inversion = invert_edit_friendly(denoise, x, schedule.ascending_sigmas.to(x), source, order, eta, report)
        noise_maps = inversion.noise_maps
        return inversion.states

    states, evaluations = _walk(guidance, samples, schedule, walk)
    settings = {"order": order, "eta": eta}
    plain = plain_trajectory(
        _with_own_image(states, samples, schedule),
        schedule.ascending_sigmas,
        torch.zeros(schedule.steps),
        facts,
        _facts("edit-friendly", guidance, schedule, evaluations, settings=settings),
    )
    return plain.with_noise_maps(guidance.model.model.process_latent_out(noise_maps))


def _walk(guidance: Guidance, samples: Tensor, schedule: Schedule, walk: Walk) -> tuple[Tensor, int]:
    """What `walk` visited, in the scale of a LATENT, and the network evaluations for one image.

    Raises ValueError when the model overflows.
    """
    count = EvaluationCount()
    visited = samples

    def loop(denoise: Denoise, latent: Tensor, report: StepCallback) -> Tensor:
        nonlocal visited
        # The references read the image as the variance-preserving state of the first level; at sigma 0 it is the same.
        visited = finite(walk(denoise, variance_exploding(latent, schedule.sigmas[-1].to(latent)), report))
        return latent

    run_guided(guidance, count, samples, torch.zeros_like(samples), OwnLoop(loop), schedule.ascending_sigmas, seed=0)
    return guidance.model.model.process_latent_out(visited), count.rows // samples.shape[0]


def _with_own_image(states: Tensor, samples: Tensor, schedule: Schedule) -> Tensor:
    """The states [N+1, B, C, H, W] with the very samples first: the round trip through the latent format moves them a bit."""
    return torch.cat([samples[None].to(states), states[1:]]) if schedule.terminal == "clean" else states


def _facts(
    method: str,
    guidance: Guidance,
    schedule: Schedule,
    evaluations: int,
    fixed_point_iterations: int = 0,
    settings: dict[str, float] | None = None,
) -> InversionFacts:
    prompts = prompts_digest([entry[0] for entry in [*guidance.positive, *guidance.negative] if entry[0] is not None])
    return InversionFacts(
        method=method,
        steps=schedule.steps,
        spacing=schedule.spacing,
        terminal=schedule.terminal,
        cfg=guidance.cfg,
        prompts=prompts,
        fixed_point_iterations=fixed_point_iterations,
        unet_evaluations=evaluations,
        settings=settings or {},
    )
