"""Loops of ours in ComfyUI's CFGGuider: loading, conditioning, hooks, previews, progress and interruption are the host's."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import comfy.patcher_extension
import comfy.samplers
import comfy.utils
import latent_preview
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ..samplers.ddim import Denoise, StepCallback
from .clones import own_clone
from .conditioning_checks import require_conditioning

Conditioning = list[Any]
HostCallback = Callable[[int, Tensor, Tensor, int], None]
Loop = Callable[[Denoise, Tensor, StepCallback], Tensor]
"""(the guided model, the LATENT's samples in the network's scale [B, C, H, W], report) -> samples in that scale."""


@dataclass(frozen=True)
class Guidance:
    """The model with what it is asked: ComfyUI's positive and negative CONDITIONING, mixed by `cfg`."""

    model: ModelPatcher
    positive: Conditioning
    negative: Conditioning
    cfg: float


class OwnLoop(comfy.samplers.Sampler):
    """A Sampler that hands everything to a loop of ours.

    Not a KSAMPLER: the noise scaling and the mask handling of that one are made for walking down from a fresh noise.
    """

    def __init__(self, loop: Loop) -> None:
        self.loop = loop

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

        return self.loop(guided_denoiser(model_wrap, extra_args), latent_image, report)


@dataclass
class EvaluationCount:
    """Counts network evaluations, one for every row of every batch that reaches the UNet."""

    rows: int = 0

    def watch(self, model: ModelPatcher) -> None:
        """Count those of the model, which is changed in place."""
        model.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.APPLY_MODEL, "retrace_count", self._count)

    def _count(self, executor: Callable[..., Tensor], x: Tensor, *args: object, **kwargs: object) -> Tensor:
        self.rows += x.shape[0]
        return executor(x, *args, **kwargs)


def run_guided(
    guidance: Guidance,
    count: EvaluationCount,
    samples: Tensor,
    noise: Tensor,
    sampler: comfy.samplers.Sampler,
    sigmas: Tensor,
    seed: int,
    denoise_mask: Tensor | None = None,
    progress_steps: int | None = None,
    patches: Sequence[Callable[[ModelPatcher], None]] = (),
) -> Tensor:
    """One run of a sampler under the guidance: samples [B, C, H, W] of a LATENT in, those of another out.

    `progress_steps` is the length of the node's bar where it is not the number of steps; `patches` change the clone of the
    model that is run.
    """
    rows = samples.shape[0]
    require_conditioning(guidance.model, guidance.positive, "positive", sigmas, rows)
    if not math.isclose(guidance.cfg, 1.0):
        require_conditioning(guidance.model, guidance.negative, "negative", sigmas, rows)
    model = own_clone(guidance.model)
    for patch in (*patches, count.watch):
        patch(model)
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(guidance.positive, guidance.negative)
    guider.set_cfg(guidance.cfg)
    callback = latent_preview.prepare_callback(guidance.model, progress_steps or len(sigmas) - 1)
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


def finite(samples: Tensor) -> Tensor:
    """The samples of a result as they are: checked once at the end of a run, because NaN stays in every state after it.

    Raises ValueError for NaN or infinity.
    """
    if bool(torch.isfinite(samples).all()):
        return samples
    raise ValueError(
        "the model gave NaN or infinite values, as one that overflows in half precision does; "
        "start ComfyUI with --fp32-unet, --bf16-unet or --force-upcast-attention, lower cfg, or leave out the last LoRA or patch."
    )


def guided_denoiser(model: Callable[..., Tensor], extra_args: dict[str, Any]) -> Denoise:
    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        return model(x, sigma * x.new_ones([x.shape[0]]), **extra_args)

    return denoise
