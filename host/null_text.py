"""Null-text optimization through ComfyUI's own conditioning."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import comfy.model_management
import comfy.samplers
import torch
from comfy.conds import CONDCrossAttn
from comfy.model_base import BaseModel
from torch import Tensor

from ..inversion.methods import METHODS
from ..inversion.null_text import (
    EmbeddedDenoise,
    Method,
    NullText,
    NullTextCallback,
    NullTextOptions,
    optimize_null_text,
)
from ..inversion.trajectory import NullEmbeddings, Trajectory
from ..samplers.ddim import Denoise, sample_ddim
from .conditioning import POOLED, covers_a_part, only_row
from .embedded_guidance import takes_guidance
from .gradients import (
    differentiable,
    normal_tensors,
    require_gradients,
    resident,
    with_differentiable_attention,
    with_separate_skips,
)
from .guided import Guidance, LoopRun, run_loop
from .latents import difference_in, difference_out
from .negative import null_text_conditioning

# Elements that autograd keeps of a pass: 157 thousand for SDXL, 90 thousand for SD1.5 (benchmarks/memory.py).
KEPT_PER_LATENT_PIXEL = 160_000


def optimize(
    guidance: Guidance,
    trajectory: Trajectory,
    options: NullTextOptions,
    method: Method,
    callback: NullTextCallback,
) -> tuple[Trajectory, NullText]:
    """The trajectory with null embeddings that make `guidance` lead back along it, and a record of the optimization.

    Whatever is in the conditioning (a ControlNet, a LoRA in the MODEL) takes part. The optimization begins at the
    embedding of `guidance.negative`. Raises ValueError as `optimize_null_text` does, for a negative of several parts or
    rows, for an area, and for a ControlNet on the positive that ComfyUI would copy to the negative.
    """
    embedding, settings = only_row(guidance.negative, "negative")
    _require_optimizable(guidance, trajectory)
    process_in = guidance.model.model.process_latent_in
    # Places on the progress bar for one step.
    passes = max(1, options.inner_steps)

    def loop(run: LoopRun) -> NullText:
        def report(step: int, inner: int, loss: float, x: Tensor, denoised: Tensor) -> None:
            callback(step, inner, loss, x, denoised)
            run.report(step * passes + min(inner, passes - 1), x, trajectory.sigmas[-1 - step], denoised)

        with _differentiable_run(run) as (text_denoise, null_denoise):
            states, sigmas, start = (
                tensor.to(run.latent.device, torch.float32).clone()
                for tensor in (process_in(trajectory.latents), trajectory.sigmas, embedding)
            )
            return optimize_null_text(
                text_denoise,
                null_denoise,
                states,
                sigmas,
                start,
                options,
                path=run.path,
                method=method,
                callback=report,
            )

    found, _ = run_loop(
        replace(guidance, model=resident(guidance.model)),
        trajectory.latents[0],
        trajectory.sigmas.flip(0),
        loop,
        progress_steps=trajectory.steps * passes,
    )
    residuals = difference_out(guidance.model, found.residuals).cpu() if options.keep_residual else None
    pooled = settings.get(POOLED)
    null_text = NullEmbeddings(
        found.embeddings.cpu(),
        None if pooled is None else pooled.float().cpu(),
        residuals,
        options.cfg,
        tuple(sorted(settings.keys() - {POOLED})),
    )
    if residuals is not None and guidance.model.model.get_dtype_inference() != torch.float32:
        residuals, work = _walked_residuals(guidance, trajectory.with_null_text(null_text))
        null_text = replace(null_text, residuals=residuals)
        found = replace(found, residuals=difference_in(guidance.model, residuals), unet_work=found.unet_work + work)
    return trajectory.with_null_text(null_text), found


def _require_optimizable(guidance: Guidance, trajectory: Trajectory) -> None:
    if takes_guidance(guidance.model):
        raise ValueError(
            f"the model ({type(guidance.model.model).__name__}) has guidance embedded and knows no negative prompt, in whose "
            "place null embeddings are optimized; use Edit Friendly Invert, or Edit Sample with align."
        )
    require_gradients(guidance.model)
    made = trajectory.inversion.method
    if METHODS[made].sample is not sample_ddim:
        raise ValueError(
            f"the trajectory was made by method {made!r}, but null embeddings are optimized for DDIM's steps; invert with method "
            "'ddim'."
        )
    if any(entry.get("control_apply_to_uncond") for _, entry in guidance.positive):
        raise ValueError(
            "positive has a ControlNet by Apply ControlNet (OLD), which ComfyUI would give to one step's embedding and to no "
            "other; use Apply ControlNet, with positive and negative."
        )
    for name, conditioning in (("positive", guidance.positive), ("negative", guidance.negative)):
        if any(covers_a_part(entry) for _, entry in conditioning):
            raise ValueError(
                f"{name} has an area (Set Area), but the null embedding of a step is one for the whole picture; leave out the area."
            )


@contextmanager
def _differentiable_run(run: LoopRun) -> Iterator[tuple[Denoise, EmbeddedDenoise]]:
    """The model under the positive, and under an embedding in the negative's place, for autograd while the block lasts."""
    network: BaseModel = run.guider.inner_model
    model_options = with_separate_skips(with_differentiable_attention(run.model_options))
    networks = [network, *_control_networks(run.guider.conds)]

    def evaluate(conds: list[Any], x: Tensor, sigma: Tensor) -> list[Tensor]:
        return comfy.samplers.calc_cond_batch(network, conds, x, sigma.reshape(1), model_options)

    with differentiable(networks, run.latent.device, checkpointed=not _fits_whole(network, run.latent)):
        positive, (negative,) = (normal_tensors(run.guider.conds[name]) for name in ("positive", "negative"))

        def text_denoise(x: Tensor, sigma: Tensor) -> Tensor:
            return evaluate([positive, None], x, sigma)[0]

        def null_denoise(x: Tensor, sigma: Tensor, embedding: Tensor) -> Tensor:
            model_conds = {**negative["model_conds"], "c_crossattn": CONDCrossAttn(embedding)}
            # The place of the negative tells attention patches that this is the unconditional half.
            return evaluate([None, [{**negative, "model_conds": model_conds}]], x, sigma)[1]

        yield text_denoise, null_denoise


def _walked_residuals(guidance: Guidance, trajectory: Trajectory) -> tuple[Tensor, int]:
    """What the steps of Edit Sample miss the trajectory by [N, 1, C, H, W], in the scale of a LATENT, and the passes for it.

    In half precision a network's rounding depends on what it is batched with and on the attention, and guidance makes it
    far larger than that of float32: a residual is exact only for the walk that it was taken on.
    """
    network, sigmas = guidance.model.model, trajectory.sigmas.flip(0)

    def loop(run: LoopRun) -> Tensor:
        states = network.process_latent_in(trajectory.latents[:-1].flip(0)).to(run.latent)
        missed: list[Tensor] = []

        def to_the_trajectory(step: int, x: Tensor) -> Tensor:
            missed.append(states[step] - x)
            return states[step]

        levels = sigmas.to(run.latent)
        sample_ddim(run.denoise, run.latent, levels, callback=run.report, after_step=to_the_trajectory)
        return torch.stack(missed[::-1])

    guidance = replace(guidance, negative=null_text_conditioning(trajectory, guidance.negative))
    missed, evaluations = run_loop(guidance, trajectory.latents[-1], sigmas, loop)
    return difference_out(guidance.model, missed).cpu(), evaluations


def _control_networks(conds: dict[str, list[dict[str, Any]]]) -> list[torch.nn.Module]:
    controls = {
        id(entry["control"]): entry["control"] for entries in conds.values() for entry in entries if "control" in entry
    }
    return [patcher.model for control in controls.values() for patcher in control.get_models()]


def _fits_whole(network: BaseModel, latent: Tensor) -> bool:
    """Whether what autograd keeps of one pass fits the memory that ComfyUI reports as free."""
    pixels = latent.shape[0] * latent.shape[-2] * latent.shape[-1]
    needed = pixels * KEPT_PER_LATENT_PIXEL * network.get_dtype_inference().itemsize
    return needed < comfy.model_management.get_free_memory(latent.device)  # pyright: ignore  (a number unless asked for two)
