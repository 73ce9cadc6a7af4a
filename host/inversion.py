"""Inversions of a LATENT by a MODEL: each method's loop inside the guider, its result as a Trajectory."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import comfy.samplers
import torch
from torch import Tensor

from ..inversion.ddim import Inversion, invert_ddim
from ..inversion.trajectory import InversionFacts, ModelFacts, Trajectory, plain_trajectory, prompts_digest
from ..samplers.prediction import variance_exploding
from ..samplers.schedule import Schedule
from .guided import EvaluationCount, Guidance, HostCallback, guided_denoiser, run_guided


def invert_latent(
    guidance: Guidance,
    samples: Tensor,
    schedule: Schedule,
    facts: ModelFacts,
    fixed_point_iterations: int,
) -> Trajectory:
    """Invert samples [B, C, H, W] (a LATENT's) along the schedule; N * (1 + fixed_point_iterations) guided model calls."""
    sampler = _InversionSampler(fixed_point_iterations)
    count = EvaluationCount()
    prompts = prompts_digest([entry[0] for entry in [*guidance.positive, *guidance.negative] if entry[0] is not None])
    run_guided(guidance, count, samples, torch.zeros_like(samples), sampler, schedule.ascending_sigmas, seed=0)
    inversion = sampler.result
    process_out = guidance.model.model.process_latent_out
    latents = torch.stack([process_out(state) for state in inversion.states])
    if schedule.terminal == "clean":
        # The round trip through the latent format must not move the picture itself.
        latents[0] = samples
    return plain_trajectory(
        latents,
        schedule.ascending_sigmas,
        inversion.residuals,
        facts,
        InversionFacts(
            method="ddim",
            steps=schedule.steps,
            spacing=schedule.spacing,
            terminal=schedule.terminal,
            cfg=guidance.cfg,
            prompts=prompts,
            fixed_point_iterations=fixed_point_iterations,
            unet_evaluations=count.rows // samples.shape[0],
        ),
    )


@dataclass
class _InversionSampler(comfy.samplers.Sampler):
    """A Sampler that starts from the clean latent, walks the sigmas upwards and keeps every state.

    Not a KSAMPLER: the noise scaling and the mask handling of that one are made for walking down.
    """

    fixed_point_iterations: int
    result: Inversion = field(init=False)

    def sample(
        self,
        model_wrap: comfy.samplers.CFGGuider,
        sigmas: Tensor,
        extra_args: dict[str, Any],
        callback: HostCallback | None,
        noise: Tensor,
        latent_image: Tensor,
        denoise_mask: Tensor | None = None,
        disable_pbar: bool = False,
    ) -> Tensor:
        def report(step: int, x: Tensor, sigma: Tensor, denoised: Tensor) -> None:
            if callback is not None:
                callback(step, denoised, x, len(sigmas) - 1)

        denoise = guided_denoiser(model_wrap, extra_args)
        # The references read the image as the variance-preserving state of the first level; at sigma 0 it is the same.
        x = variance_exploding(latent_image, sigmas[0])
        self.result = invert_ddim(denoise, x, sigmas, self.fixed_point_iterations, report)
        return self.result.states[-1]
