"""Latent blending inside ComfyUI: a SAMPLER that wraps another, and one run of DDIM with everything chosen here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import comfy.samplers
import torch
import torch.nn.functional as F
from torch import Tensor

from ..inversion.trajectory import Trajectory
from ..samplers.blend_mask import checked_mask, require_painted
from ..samplers.blending import (
    Background,
    InvertedImage,
    MaskOverTime,
    NoisedImage,
    Source,
    blend,
    blend_after_steps,
    blend_around_calls,
    masks_over_time,
)
from ..samplers.prediction import variance_exploding, variance_preserving
from ..samplers.schedule import SAME_LEVEL, Schedule
from .guided import EvaluationCount, Guidance, finite, run_guided
from .model_facts import model_facts, refuse_flow
from .naming import named
from .sampling import DDIMSampler, ddim_sampler

Start = Literal["given", "noised image", "pure noise", "background"]


@dataclass(frozen=True)
class BlendPlan:
    """What a blended run keeps and from where.

    Attributes:
        source: see `samplers.blending`.
        mask: MASK, 1 where the image is painted anew, any size; or None: only the LATENT's noise_mask counts.
        over_time, dilations: see `samplers.blending.masks_over_time`.
        trajectory: the background of the source "trajectory".
    """

    source: Source
    mask: Tensor | None
    over_time: MaskOverTime
    dilations: int
    trajectory: Trajectory | None

    def require_complete(self) -> None:
        """Raise ValueError when the source wants a trajectory that is not there."""
        if self.source == "trajectory" and self.trajectory is None:
            raise ValueError("kept_from is 'trajectory', but there is no trajectory; connect DDIM Invert.")

    def start(self, strength: float, inherit_noise: bool) -> Start:
        """What a run of this strength begins from. Raises ValueError where there is no noise to inherit."""
        if inherit_noise:
            if self.source != "trajectory":
                raise ValueError(
                    f"inherit_noise is on, but kept_from is {self.source!r}, which has no inverted image to take noise "
                    "from; choose kept_from 'trajectory', or turn it off."
                )
            return "background"
        # legacy starts from the noised image at every strength, the newer pipeline from pure noise at strength 1.
        return "pure noise" if strength == 1 and self.source != "legacy" else "noised image"


@dataclass(frozen=True)
class BlendSampler(comfy.samplers.Sampler):
    """A SAMPLER that runs `inner` and keeps what the plan keeps.

    Our own DDIM is blended after each step, as the references do it; any other sampler around its network calls.

    Attributes:
        node: the one that made the SAMPLER, for messages, where another node runs it; else None.
        start: "given" is the host's: noise of the guider added to its latent; "noised image" and "pure noise" are those of the
            references; "background" is the whole of the background at the first level, which for an inverted image still
            knows where its things stood.
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
        network = model_wrap.inner_model
        with named(self.node):
            refuse_flow(network.model_sampling, type(network).__name__)
            self._require_descending(sigmas)
            background = self._background(model_wrap, sigmas, noise, latent_image)
            masks = self._masks(model_wrap, sigmas, extra_args, latent_image, denoise_mask)
        finished = float(sigmas[-1]) == 0 if self.finished is None else self.finished

        def blended(model: Any, x: Tensor, sigmas: Tensor, **options: Any) -> Tensor:  # noqa: ANN401  (k-diffusion's)
            x = self._started(x, background, noise, masks, sigmas)
            if isinstance(self.inner, DDIMSampler):
                hook = blend_after_steps(background, masks, sigmas, self.plan.source == "legacy", finished)
                return self.inner.sampler_function(model, x, sigmas, after_step=hook, **options)
            around = _BlendedModel(model.inner_model, sigmas)
            around.background, around.masks = background, masks
            x = self.inner.sampler_function(around, x, sigmas, **options)
            kept = variance_exploding(background.clean, sigmas[-1]) if finished else background.at(sigmas[-1])
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

    def _background(
        self, model_wrap: comfy.samplers.CFGGuider, sigmas: Tensor, noise: Tensor, latent_image: Tensor
    ) -> Background:
        if self.plan.source == "trajectory":
            assert self.plan.trajectory is not None
            self.plan.trajectory.require_model(model_facts(model_wrap.model_patcher))
            states, levels = self.plan.trajectory.latents, self.plan.trajectory.sigmas
            if states.shape[2:] != latent_image.shape[1:] or states.shape[1] not in (1, len(latent_image)):
                raise ValueError(
                    f"the latent has the shape {tuple(latent_image.shape)}, but the trajectory's is "
                    f"{tuple(states.shape[1:])}; give the latent that was inverted."
                )
            if float(sigmas[0]) > float(levels[-1]) * (1 + SAME_LEVEL):
                made = self.plan.trajectory.inversion
                # A guider is given SIGMAS; the node that starts the run by itself makes its own of steps and spacing.
                way_out = (
                    "the trajectory's own SIGMAS (Trajectory Latent)"
                    if self.start == "given"
                    else f"steps {made.steps} and spacing {made.spacing!r}, its own"
                )
                raise ValueError(
                    f"the sigmas begin at {float(sigmas[0]):.4f}, above the trajectory's highest level "
                    f"{float(levels[-1]):.4f}; give {way_out}."
                )
            process_in = model_wrap.inner_model.process_latent_in
            placed = torch.stack([process_in(state) for state in states.to(latent_image)])
            return InvertedImage(placed, levels.to(latent_image))
        if not bool(noise.any()):
            raise ValueError(
                f"the run has no noise (DisableNoise), with which kept_from {self.plan.source!r} brings the kept "
                "part to each level; use RandomNoise, or kept_from 'trajectory'."
            )
        return NoisedImage(latent_image, noise)

    def _masks(
        self,
        model_wrap: comfy.samplers.CFGGuider,
        sigmas: Tensor,
        extra_args: dict[str, Any],
        latent_image: Tensor,
        denoise_mask: Tensor | None,
    ) -> Tensor:
        """[N+1, B, 1, H, W]: the plan's mask and the LATENT's noise_mask, whichever keeps more, over time."""
        if self.plan.mask is None and denoise_mask is None:
            raise ValueError("there is no mask; connect one, or give the latent one with Set Latent Noise Mask.")
        mask = latent_mask(self.plan.mask, latent_image)
        if denoise_mask is not None:
            mask = torch.minimum(mask, denoise_mask[:, :1].to(mask))
        require_painted(mask, "invert the mask (a noise_mask of the latent counts as well)")
        masks = masks_over_time(mask, len(sigmas) - 1, self.plan.over_time, self.plan.dilations)
        over_time = extra_args["model_options"].get("denoise_mask_function")
        if over_time is None:
            return masks
        options = {"model": model_wrap, "sigmas": sigmas}
        rows = sigmas.new_ones([len(latent_image)])
        calls = [
            over_time(sigma * rows, each, extra_options=options)
            for sigma, each in zip(sigmas[:-1], masks[:-1], strict=True)
        ]
        # In core a call's mask also holds for the step that it leads, so that blending after the steps comes one later.
        return torch.stack([calls[0], *calls] if isinstance(self.inner, DDIMSampler) else [*calls, calls[-1]])

    def _started(self, x: Tensor, background: Background, noise: Tensor, masks: Tensor, sigmas: Tensor) -> Tensor:
        if self.start == "background":
            return background.at(sigmas[0]).expand_as(x)
        if self.start == "pure noise":
            x = variance_exploding(noise, sigmas[0])
        elif self.start == "noised image":
            x = background.clean + sigmas[0] * noise
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


def latent_mask(mask: Tensor | None, latent: Tensor) -> Tensor:
    """A MASK of any size as [B, 1, h, w] for a latent [B, C, h, w]; all ones without one.

    Pixels are averaged per latent pixel; a mask that has the latent's size already is taken as it is. Raises ValueError when
    neither the mask nor the latent has one row and the batches differ.
    """
    batch, _, height, width = latent.shape
    if mask is None:
        return latent.new_ones(batch, 1, height, width)
    planes = checked_mask(mask)[:, None].to(latent)
    if len(planes) not in (1, batch):
        raise ValueError(
            f"there are {len(planes)} masks for a latent batch of {batch}; give one mask, or one for each."
        )
    if planes.shape[2:] != (height, width):
        planes = F.interpolate(planes, (height, width), mode="area")
    return planes.expand(batch, 1, height, width)


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
    count = EvaluationCount()
    sampler = BlendSampler(ddim_sampler(eta), plan, start=start, finished=True)
    result = run_guided(guidance, count, samples, noise, sampler, schedule.sigmas, seed, noise_mask)
    return variance_preserving(result, schedule.sigmas[-1].to(result)), count.rows // samples.shape[0]
