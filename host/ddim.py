"""DDIM sampling of a LATENT by a MODEL, and DDIM as a SAMPLER for any guider."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy.sample
import comfy.samplers
from torch import Tensor

from ..samplers.ddim import UNLIMITED, AfterStep, DenoisedRange, FreshNoise, sample_ddim
from ..samplers.noise import noise_source
from .guided import Guidance, finite, guided_denoiser, run_sampler
from .latents import Latent
from .model_facts import path_of
from .naming import named


def initial_noise(latent: Latent, samples: Tensor, seed: int) -> Tensor:
    """ComfyUI's noise for a LATENT's samples; a row taken out of a batch (batch_index) gets the noise it has in the batch."""
    return comfy.sample.prepare_noise(samples, seed, latent.get("batch_index"))  # pyright: ignore  (nested for nested ones)


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
    sampler = ddim_sampler(eta, denoised_range, seeds)
    result, evaluations = run_sampler(
        guidance, samples, noise, sampler, sigmas, seed=seeds[0], denoise_mask=denoise_mask
    )
    if read_as_clean:
        result = path_of(guidance.model).to_unit(result, sigmas[-1].to(result))
    return result, evaluations


class DDIMSampler(comfy.samplers.KSAMPLER):
    """Our DDIM as a SAMPLER; its function takes `after_step`, see `samplers.ddim.sample_ddim`.

    Its run raises ValueError as `path_of` does, and when the model overflows, in the name of `node`: the one that made
    the SAMPLER, where another node runs it, else None.
    """

    def __init__(self, sampler_function: Callable[..., Tensor], node: str | None) -> None:
        super().__init__(sampler_function)
        self.node = node

    def sample(self, *args: Any, **kwargs: Any) -> Tensor:  # noqa: ANN401  (core's own arguments)
        samples = super().sample(*args, **kwargs)
        with named(self.node):
            return finite(samples)


def ddim_sampler(
    eta: float,
    denoised_range: DenoisedRange = UNLIMITED,
    seeds: tuple[int, ...] | None = None,
    node: str | None = None,
) -> DDIMSampler:
    """A SAMPLER for any guider. Without `seeds` the noise of eta > 0 is drawn from the seed of the run, counted up by rows.

    `node`: see `DDIMSampler`.
    """

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

        with named(node):
            path = path_of(model.inner_model.model_patcher)
        fresh = None
        if eta > 0:
            # The run's own seed already drew the initial noise; the next one keeps the steps independent of it.
            chosen = seeds or (int(extra_args.get("seed") or 0),)
            draw = noise_source(x.shape, tuple((seed + 1) % 2**64 for seed in chosen))
            fresh = FreshNoise(path, eta, draw)
        return sample_ddim(
            guided_denoiser(model, extra_args),
            x,
            sigmas,
            fresh=fresh,
            denoised_range=denoised_range,
            callback=report,
            after_step=after_step,
        )

    sampler_function.__name__ = "retrace_ddim"
    return DDIMSampler(sampler_function, node)
