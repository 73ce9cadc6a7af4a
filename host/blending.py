"""Latent blending inside ComfyUI: a SAMPLER that wraps another, and one run of DDIM with everything chosen here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import comfy.samplers
import torch
from torch import Tensor

from ..samplers.blending import Background, blend, blend_after_steps, blend_around_calls
from ..samplers.path import Path
from ..samplers.schedule import Schedule
from .blend_plan import BlendPlan, Start
from .ddim import DDIMSampler, ddim_sampler
from .guided import Guidance, finite, run_sampler
from .model_facts import path_of
from .naming import named


@dataclass(frozen=True)
class BlendSampler(comfy.samplers.Sampler):
    """A SAMPLER that runs `inner` and keeps what the plan keeps.

    Our own DDIM is blended after each step, as the references do it; any other sampler around its network calls.

    Attributes:
        node: the one that made the SAMPLER, for messages, where another node runs it; else None.
        start: see `blend_plan.Start`.
        finished: read the last level as the image's, also above sigma 0; None: only at sigma 0.
    """

    inner: comfy.samplers.KSAMPLER
    plan: BlendPlan
    node: str | None = None
    start: Start = "given"
    finished: bool | None = None

    def sample(
        self,
        model_wrap: comfy.samplers.CFGGuider,
        sigmas: Tensor,
        extra_args: dict[str, Any],
        callback: Callable[..., None] | None,
        noise: Tensor,
        latent_image: Tensor,
        denoise_mask: Tensor | None = None,
        disable_pbar: bool = False,
    ) -> Tensor:
        with named(self.node):
            path = path_of(model_wrap.model_patcher)
            self._require_descending(sigmas)
            background = self.plan.background(
                model_wrap.model_patcher, sigmas, noise, latent_image, path, given_sigmas=self.start == "given"
            )
            masks = self.plan.masks(len(sigmas) - 1, latent_image, denoise_mask)
            over_time = extra_args["model_options"].get("denoise_mask_function")
            if over_time is not None:
                change = partial(over_time, extra_options={"model": model_wrap, "sigmas": sigmas})
                masks = self._changed_masks(masks, sigmas, change)
        finished = float(sigmas[-1]) == 0 if self.finished is None else self.finished

        def blended(model: Any, x: Tensor, sigmas: Tensor, **options: Any) -> Tensor:  # noqa: ANN401  (k-diffusion's)
            x = self._started(x, background, noise, masks, sigmas, path)
            if isinstance(self.inner, DDIMSampler):
                legacy = self.plan.source == "legacy"
                hook = blend_after_steps(background, masks, sigmas, path=path, legacy=legacy, finished=finished)
                return self.inner.sampler_function(model, x, sigmas, after_step=hook, **options)
            around = _BlendedModel(model.inner_model, sigmas)
            around.background, around.masks = background, masks
            x = self.inner.sampler_function(around, x, sigmas, **options)
            kept = path.from_unit(background.clean, sigmas[-1]) if finished else background.at(sigmas[-1])
            # A soft mask has blended the last answer already; what is kept whole is exact whatever the sampler did.
            return torch.where(masks[-1] == 0, kept, x)

        blended.__name__ = f"blended_{getattr(self.inner.sampler_function, '__name__', 'sampler')}"
        sampler = comfy.samplers.KSAMPLER(blended, self.inner.extra_options, self.inner.inpaint_options)
        result = sampler.sample(model_wrap, sigmas, extra_args, callback, noise, latent_image, None, disable_pbar)
        with named(self.node):
            return finite(result)

    def _require_descending(self, sigmas: Tensor) -> None:
        if bool((sigmas[1:] > sigmas[:-1]).any()):
            raise ValueError(
                f"the sigmas {[round(float(sigma), 4) for sigma in sigmas[:6]]} do not descend from noise to image; "
                "give those of a scheduler, not flipped ones."
            )

    def _changed_masks(self, masks: Tensor, sigmas: Tensor, change: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """The masks [N+1, B, 1, H, W] as the MODEL's denoise_mask_function changes them at each level."""
        rows = sigmas.new_ones([masks.shape[1]])
        calls = [change(sigma * rows, mask) for sigma, mask in zip(sigmas[:-1], masks[:-1], strict=True)]
        # In core a call's mask also holds for the step that it leads, so that blending after the steps comes one later.
        return torch.stack([calls[0], *calls] if isinstance(self.inner, DDIMSampler) else [*calls, calls[-1]])

    def _started(
        self, x: Tensor, background: Background, noise: Tensor, masks: Tensor, sigmas: Tensor, path: Path
    ) -> Tensor:
        if self.start == "background":
            return background.at(sigmas[0]).expand_as(x)
        if self.start == "pure noise":
            x = path.from_unit(noise, sigmas[0])
        elif self.start == "noised image":
            x = path.add_noise(background.clean, noise, sigmas[0])
        return blend(x, background.at(sigmas[0]), masks[0]) if self.plan.source == "trajectory" else x


class _BlendedModel(comfy.samplers.KSamplerX0Inpaint):
    """What a sampler function calls: core's own wrapper, blending by a background instead of by the noised latent."""

    background: Background
    masks: Tensor

    def __call__(
        self,
        x: Tensor,
        sigma: Tensor,
        denoise_mask: Tensor | None = None,
        model_options: dict[str, Any] | None = None,
        seed: int | None = None,
    ) -> Tensor:
        def denoise(x: Tensor, _: Tensor) -> Tensor:
            return self.inner_model(x, sigma, model_options=model_options or {}, seed=seed)

        return blend_around_calls(denoise, self.background, self.masks, self.sigmas)(x, sigma.flatten()[0])


def wrapped(inner: object, plan: BlendPlan, node: str) -> BlendSampler:
    """The SAMPLER of the plan around another, made by `node`. Raises ValueError for samplers that cannot be wrapped."""
    if not isinstance(inner, comfy.samplers.KSAMPLER):
        raise ValueError(
            f"the sampler is a {type(inner).__name__}, which cannot be wrapped; give one of KSamplerSelect, a core "
            "sampler node or Sampler DDIM."
        )
    if plan.source == "legacy" and not isinstance(inner, DDIMSampler):
        raise ValueError(
            f"kept_from 'legacy' blends after each DDIM step, and this sampler is "
            f"{getattr(inner.sampler_function, '__name__', 'another')!r}; give Sampler DDIM, or choose 'matched' or 'trajectory'."
        )
    return BlendSampler(inner, plan, node)


def blend_latent(
    guidance: Guidance,
    samples: Tensor,
    noise: Tensor,
    plan: BlendPlan,
    schedule: Schedule,
    start: Start,
    eta: float,
    seed: int,
    noise_mask: Tensor | None,
) -> tuple[Tensor, int]:
    """DDIM with blending from the schedule's first level to the image: the references' pipelines as one call.

    samples and noise [B, C, H, W], of a LATENT; `start`: see `BlendSampler`; `seed`: of the run, whose steps draw the noise
    of eta.
    Returns the samples of a LATENT and the number of network evaluations for one image.
    """
    sampler = BlendSampler(ddim_sampler(eta), plan, start=start, finished=True)
    result, evaluations = run_sampler(
        guidance, samples, noise, sampler, schedule.sigmas, seed=seed, denoise_mask=noise_mask
    )
    return path_of(guidance.model).to_unit(result, schedule.sigmas[-1].to(result)), evaluations
