"""Run our loops in ComfyUI's CFGGuider, which provides loading, conditioning, hooks, previews, progress and interruption."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import comfy.patcher_extension
import comfy.samplers
import comfy.utils
import latent_preview
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor
from tqdm.auto import tqdm

from ..samplers.ddim import Denoise, StepCallback
from ..samplers.path import Path
from .clones import own_clone
from .conditioning_checks import require_conditioning
from .model_facts import path_of
from .roles import RoleGuider, Source

Conditioning = list[Any]
HostCallback = Callable[[int, Tensor, Tensor, int], None]
ModelPatch = Callable[[ModelPatcher], None]
"""Changes the clone of a MODEL that a run is made with."""

T = TypeVar("T")


@dataclass(frozen=True)
class Guidance:
    """The model and its prompts: ComfyUI's positive and negative CONDITIONING, mixed by `cfg`; `source`: of row 0, where it has
    prompts of its own."""

    model: ModelPatcher
    positive: Conditioning
    negative: Conditioning
    cfg: float
    source: Source | None = None


@dataclass(frozen=True)
class LoopRun:
    """What one of our loops works with while ComfyUI's guider runs it.

    Attributes:
        denoise: the guided model; accepts states and levels of any dtype on any device.
        latent: the LATENT's samples [B, C, H, W] in the network's scale, float32 on its device.
        path: the model's path.
        report: called at every step, for previews and progress.
        guider, model_options: ComfyUI's, for loops that evaluate the network in another way.
    """

    denoise: Denoise
    latent: Tensor
    path: Path
    report: StepCallback
    guider: comfy.samplers.CFGGuider
    model_options: dict[str, Any]


Loop = Callable[[LoopRun], T]


class _OwnLoop(comfy.samplers.Sampler):
    """A Sampler that hands the run to one of our loops.

    Not a KSAMPLER, whose noise scaling and mask handling assume sampling down from fresh noise.
    """

    def __init__(self, loop: Loop[None], progress_steps: int, shown_row: int) -> None:
        self.loop = loop
        self.progress_steps = progress_steps
        self.shown_row = shown_row

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
        # The bar in the console, as core's samplers draw it.
        bar = tqdm(total=self.progress_steps, disable=disable_pbar)

        def report(step: int, x: Tensor, sigma: Tensor, denoised: Tensor) -> None:
            bar.update(step + 1 - bar.n)
            if callback is not None:
                # ComfyUI's preview shows the first row that it is given.
                callback(step, denoised[self.shown_row :], x[self.shown_row :], self.progress_steps)

        guided = guided_denoiser(model_wrap, extra_args)

        def denoise(x: Tensor, sigma: Tensor) -> Tensor:
            return guided(x.to(latent_image), sigma.to(latent_image))

        path = path_of(model_wrap.model_patcher)
        run = LoopRun(denoise, latent_image, path, report, model_wrap, extra_args["model_options"])
        with bar:
            self.loop(run)
            bar.update(self.progress_steps - bar.n)  # a loop may stop early
        return latent_image


@dataclass
class _EvaluationCount:
    """Counts network evaluations, one per row of every batch that reaches the network."""

    rows: int = 0

    def watch(self, model: ModelPatcher) -> None:
        """Count the model's evaluations; modifies the model in place."""
        model.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.APPLY_MODEL, "retrace_count", self._count)

    def _count(self, executor: Callable[..., Tensor], x: Tensor, *args: object, **kwargs: object) -> Tensor:
        self.rows += x.shape[0]
        return executor(x, *args, **kwargs)


def run_loop(
    guidance: Guidance,
    samples: Tensor,
    sigmas: Tensor,
    loop: Loop[T],
    *,
    progress_steps: int | None = None,
    patches: Sequence[ModelPatch] = (),
    shown_row: int = 0,
) -> tuple[T, int]:
    """Run one of our loops on a LATENT's samples [B, C, H, W]; returns its result and the network evaluations per row.

    `progress_steps` is the length of the node's progress bar if it is not the number of steps; `shown_row` is the row of the
    live preview.
    """
    steps = progress_steps or len(sigmas) - 1
    # A Sampler can hand back samples alone.
    results: list[T] = []
    sampler = _OwnLoop(lambda run: results.append(loop(run)), steps, shown_row)
    _, evaluations = run_sampler(
        guidance, samples, torch.zeros_like(samples), sampler, sigmas, progress_steps=steps, patches=patches
    )
    return results[0], evaluations


def run_sampler(
    guidance: Guidance,
    samples: Tensor,
    noise: Tensor,
    sampler: comfy.samplers.Sampler,
    sigmas: Tensor,
    *,
    seed: int = 0,
    denoise_mask: Tensor | None = None,
    progress_steps: int | None = None,
    patches: Sequence[ModelPatch] = (),
) -> tuple[Tensor, int]:
    """One run of a SAMPLER under the guidance: samples [B, C, H, W] of a LATENT in, those of another out, and the network
    evaluations for one row.
    """
    rows, source = samples.shape[0], guidance.source
    edited = rows - (source is not None)
    require_conditioning(guidance.model, guidance.positive, "positive", sigmas, edited)
    if not math.isclose(guidance.cfg, 1.0):
        require_conditioning(guidance.model, guidance.negative, "negative", sigmas, edited)
    if source is not None:
        require_conditioning(guidance.model, source.positive, "source", sigmas, 1)
    model, count = own_clone(guidance.model), _EvaluationCount()
    for patch in (*patches, count.watch):
        patch(model)
    guider = RoleGuider(model)
    guider.set_conds(guidance.positive, guidance.negative)
    guider.set_cfg(guidance.cfg)
    if source is not None:
        guider.set_source(source)
    callback = latent_preview.prepare_callback(guidance.model, progress_steps or len(sigmas) - 1)
    result = guider.sample(
        noise,
        samples,
        sampler,
        sigmas,
        denoise_mask=denoise_mask,
        callback=callback,
        disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
        seed=seed,
    )
    return result, count.rows // rows


def finite(samples: Tensor) -> Tensor:
    """The samples, unchanged. One check at the end of a run is enough, because NaN stays in every later state.

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
