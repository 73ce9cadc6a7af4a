"""Our loops inside ComfyUI's CFGGuider: model loading, conditioning, hooks, previews, progress and interruption are the host's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import comfy.patcher_extension
import comfy.samplers
import comfy.utils
import latent_preview
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ..inversion.ddim import Inversion, invert_ddim
from ..inversion.trajectory import InversionFacts, ModelFacts, Trajectory, plain_trajectory, prompts_digest
from ..samplers.ddim import UNLIMITED, AfterStep, Denoise, DenoisedRange, sample_ddim
from ..samplers.noise import NoiseSource, noise_source
from ..samplers.prediction import variance_exploding, variance_preserving
from ..samplers.schedule import Schedule
from .model_facts import refuse_flow

Conditioning = list[Any]
HostCallback = Callable[[int, Tensor, Tensor, int], None]


@dataclass(frozen=True)
class Guidance:
    """The model with what it is asked: ComfyUI's positive and negative CONDITIONING, mixed by `cfg`."""

    model: ModelPatcher
    positive: Conditioning
    negative: Conditioning
    cfg: float


@dataclass
class EvaluationCount:
    """Counts network evaluations, one for every row of every batch that reaches the UNet."""

    rows: int = 0

    def watch(self, model: ModelPatcher) -> ModelPatcher:
        """A clone of the model that is counted."""
        watched = model.clone()
        watched.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.APPLY_MODEL, "retrace_count", self._count)
        return watched

    def _count(self, executor: Callable[..., Tensor], x: Tensor, *args: object, **kwargs: object) -> Tensor:
        self.rows += x.shape[0]
        return executor(x, *args, **kwargs)


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


def sample_latent(
    guidance: Guidance,
    samples: Tensor,
    noise: Tensor,
    sigmas: Tensor,
    eta: float,
    seeds: tuple[int, ...],
    denoised_range: DenoisedRange = UNLIMITED,
    denoise_mask: Tensor | None = None,
    read_as_clean: bool = True,
) -> tuple[Tensor, int]:
    """Sample from samples + sigma * noise down the sigmas by DDIM.

    `read_as_clean` takes the last state for the image, as the references do, even where the schedule ends above sigma 0.
    Returns the samples of a LATENT [B, C, H, W] and the number of network evaluations for one image.
    """
    count = EvaluationCount()
    sampler = ddim_sampler(eta, denoised_range, seeds)
    result = run_guided(guidance, count, samples, noise, sampler, sigmas, seeds[0], denoise_mask)
    if read_as_clean:
        result = variance_preserving(result, sigmas[-1].to(result))
    return result, count.rows // samples.shape[0]


class DDIMSampler(comfy.samplers.KSAMPLER):
    """Our DDIM as a SAMPLER; its function takes `after_step`, see `samplers.ddim.sample_ddim`."""


def ddim_sampler(
    eta: float, denoised_range: DenoisedRange = UNLIMITED, seeds: tuple[int, ...] | None = None
) -> DDIMSampler:
    """A SAMPLER for any guider. Without `seeds` the noise of eta > 0 is drawn from the seed of the run."""

    def sampler_function(
        model: comfy.samplers.KSamplerX0Inpaint,
        x: Tensor,
        sigmas: Tensor,
        extra_args: dict[str, Any],
        callback: Callable[[dict[str, Any]], None] | None = None,
        disable: bool | None = None,
        after_step: AfterStep | None = None,
    ) -> Tensor:
        def report(step: int, x: Tensor, sigma: Tensor, denoised: Tensor) -> None:
            if callback is not None:
                callback({"i": step, "x": x, "sigma": sigma, "sigma_hat": sigma, "denoised": denoised})

        network = model.inner_model.inner_model
        refuse_flow(network.model_sampling, type(network).__name__, "Sampler DDIM")
        noise: NoiseSource | None = None
        if eta > 0:
            # The run's own seed already drew the initial noise; the next one keeps the steps independent of it.
            chosen = seeds or (int(extra_args.get("seed") or 0),)
            noise = noise_source(x.shape, tuple((seed + 1) % 2**64 for seed in chosen))
        return sample_ddim(_denoiser(model, extra_args), x, sigmas, eta, noise, denoised_range, report, after_step)

    sampler_function.__name__ = "retrace_ddim"
    return DDIMSampler(sampler_function)


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

        denoise = _denoiser(model_wrap, extra_args)
        # The references read the image as the variance-preserving state of the first level; at sigma 0 it is the same.
        x = variance_exploding(latent_image, sigmas[0])
        self.result = invert_ddim(denoise, x, sigmas, self.fixed_point_iterations, report)
        return self.result.states[-1]


def run_guided(
    guidance: Guidance,
    count: EvaluationCount,
    samples: Tensor,
    noise: Tensor,
    sampler: comfy.samplers.Sampler,
    sigmas: Tensor,
    seed: int,
    denoise_mask: Tensor | None = None,
) -> Tensor:
    """One run of a sampler under the guidance: samples [B, C, H, W] of a LATENT in, those of another out."""
    guider = comfy.samplers.CFGGuider(count.watch(guidance.model))
    guider.set_conds(guidance.positive, guidance.negative)
    guider.set_cfg(guidance.cfg)
    callback = latent_preview.prepare_callback(guidance.model, len(sigmas) - 1)
    return guider.sample(
        noise,
        samples,
        sampler,
        sigmas,
        denoise_mask=denoise_mask,
        callback=callback,
        disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
        seed=seed,
    )


def _denoiser(model: Callable[..., Tensor], extra_args: dict[str, Any]) -> Denoise:
    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        return model(x, sigma * x.new_ones([x.shape[0]]), **extra_args)

    return denoise
