"""Null-text optimisation through ComfyUI's own conditioning, and its result as CONDITIONING that any sampler takes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import comfy.model_management
import comfy.samplers
import torch
from comfy.conds import CONDCrossAttn
from comfy.model_base import BaseModel
from torch import Tensor

from ..inversion.null_text import Method, NullText, NullTextCallback, NullTextOptions, optimize_null_text
from ..inversion.trajectory import NullEmbeddings, Trajectory
from ..samplers.ddim import Denoise, StepCallback, sample_ddim
from ..samplers.schedule import step_windows
from .conditioning import POOLED, covers_a_part, only_row
from .gradients import differentiable, normal_tensors, resident, with_differentiable_attention, with_separate_skips
from .guided import Conditioning, EvaluationCount, Guidance, HostCallback, OwnLoop, run_guided

# Elements that autograd keeps of a pass: 157 thousand for SDXL, 90 thousand for SD1.5 (benchmarks/memory.py).
KEPT_PER_LATENT_PIXEL = 160_000


def optimize(
    guidance: Guidance,
    trajectory: Trajectory,
    options: NullTextOptions,
    method: Method,
    callback: NullTextCallback,
) -> tuple[Trajectory, NullText]:
    """The trajectory with null embeddings that make `guidance` walk it back, and what the optimisation tells of itself.

    Whatever is in the conditioning (a ControlNet, a LoRA in the MODEL) takes part. The optimisation begins at the
    embedding of `guidance.negative`. Raises ValueError as `optimize_null_text` does, for a negative of several parts or
    rows, for an area, and for a ControlNet on the positive that ComfyUI would copy to the negative.
    """
    embedding, settings = only_row(guidance.negative, "negative")
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
    process_in, process_out = guidance.model.model.process_latent_in, guidance.model.model.process_latent_out
    sampler = _NullTextSampler(process_in(trajectory.latents), trajectory.sigmas, embedding, options, method, callback)
    image = trajectory.latents[0]
    run_guided(
        Guidance(resident(guidance.model), guidance.positive, guidance.negative, guidance.cfg),
        EvaluationCount(),
        image,
        torch.zeros_like(image),
        sampler,
        trajectory.sigmas.flip(0),
        seed=0,
        progress_steps=trajectory.steps * sampler.passes,
    )
    found = sampler.result
    residuals = process_out(found.residuals).cpu() if options.keep_residual else None
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
        found = replace(found, residuals=process_in(residuals), unet_work=found.unet_work + work)
    return trajectory.with_null_text(null_text), found


def null_text_conditioning(trajectory: Trajectory, negative: Conditioning | None) -> Conditioning:
    """One CONDITIONING entry a step, each seen at its own level alone, with the settings of `negative` in every one.

    Raises ValueError when the trajectory has no null embeddings, and for a negative of several parts or rows.
    """
    null_text = trajectory.null_text
    if null_text is None:
        raise ValueError("the trajectory has no null embeddings; send it through Null Text Optimize first.")
    settings = {} if null_text.pooled is None else {POOLED: null_text.pooled}
    if negative is not None:
        settings |= only_row(negative, "negative")[1]
    windows = step_windows(trajectory.sigmas.flip(0), trajectory.model.sigma_table)
    return [
        [embedding[None], {**settings, "start_percent": start, "end_percent": end}]
        for embedding, (start, end) in zip(null_text.embeddings.flip(0), windows, strict=True)
    ]


def is_null_text_of(negative: Conditioning, trajectory: Trajectory) -> bool:
    """Whether the negative holds the trajectory's own null embeddings, step by step."""
    null_text = trajectory.null_text
    return (
        null_text is not None
        and len(negative) == trajectory.steps
        and all(
            torch.equal(entry[0][0], own) for entry, own in zip(negative, null_text.embeddings.flip(0), strict=True)
        )
    )


def _walked_residuals(guidance: Guidance, trajectory: Trajectory) -> tuple[Tensor, int]:
    """What the steps of Edit Sample miss the trajectory by [N, 1, C, H, W], in the scale of a LATENT, and the passes for it.

    In half precision a network's rounding depends on what it is batched with and on the attention, and guidance makes it
    far larger than that of float32: a residual is exact for the walk alone that it was taken on.
    """
    network = guidance.model.model
    start, sigmas = trajectory.latents[-1], trajectory.sigmas.flip(0)
    path = network.process_latent_in(trajectory.latents.flip(0))
    missed: list[Tensor] = []

    def loop(denoise: Denoise, latent: Tensor, report: StepCallback) -> Tensor:
        def to_the_path(step: int, x: Tensor) -> Tensor:
            state = path[step + 1].to(x)
            missed.append(state - x)
            return state

        return sample_ddim(denoise, latent, sigmas.to(latent), callback=report, after_step=to_the_path)

    count = EvaluationCount()
    guidance = replace(guidance, negative=null_text_conditioning(trajectory, guidance.negative))
    run_guided(guidance, count, start, torch.zeros_like(start), OwnLoop(loop), sigmas, seed=0)
    return network.process_latent_out(torch.stack(missed[::-1])).cpu(), count.rows


@dataclass
class _NullTextSampler(comfy.samplers.Sampler):
    """A Sampler whose run is the optimisation: the guider has loaded the model and prepared the conditioning."""

    states: Tensor
    sigmas: Tensor
    start: Tensor
    options: NullTextOptions
    method: Method
    report: NullTextCallback
    result: NullText = field(init=False)

    @property
    def passes(self) -> int:
        """Places on the progress bar for one step."""
        return max(1, self.options.inner_steps)

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
        network: BaseModel = model_wrap.inner_model
        model_options = with_separate_skips(with_differentiable_attention(extra_args["model_options"]))
        networks = [network, *_control_networks(model_wrap.conds)]
        checkpointed = not _fits_whole(network, latent_image)
        with differentiable(networks, latent_image.device, checkpointed):
            steps = len(self.sigmas) - 1
            conds = normal_tensors({name: model_wrap.conds[name] for name in ("positive", "negative")})
            states, levels, start = (
                tensor.to(latent_image.device, torch.float32).clone()
                for tensor in (self.states, self.sigmas, self.start)
            )

            def text_denoise(x: Tensor, sigma: Tensor) -> Tensor:
                asked = [conds["positive"], None]
                return comfy.samplers.calc_cond_batch(network, asked, x, sigma.reshape(1), model_options)[0]

            def null_denoise(x: Tensor, sigma: Tensor, embedding: Tensor) -> Tensor:
                (entry,) = conds["negative"]
                model_conds = {**entry["model_conds"], "c_crossattn": CONDCrossAttn(embedding)}
                # The place of the negative tells attention patches that this is the unconditional half.
                asked = [None, [{**entry, "model_conds": model_conds}]]
                return comfy.samplers.calc_cond_batch(network, asked, x, sigma.reshape(1), model_options)[1]

            def report(step: int, inner: int, loss: float, x: Tensor, denoised: Tensor) -> None:
                self.report(step, inner, loss, x, denoised)
                if callback is not None:
                    place = step * self.passes + min(inner, self.passes - 1)
                    callback(place, denoised, x, steps * self.passes)

            self.result = optimize_null_text(
                text_denoise, null_denoise, states, levels, start, self.options, self.method, report
            )
        return latent_image


def _control_networks(conds: dict[str, list[dict[str, Any]]]) -> list[torch.nn.Module]:
    controls = {
        id(entry["control"]): entry["control"] for entries in conds.values() for entry in entries if "control" in entry
    }
    return [patcher.model for control in controls.values() for patcher in control.get_models()]


def _fits_whole(network: BaseModel, latent: Tensor) -> bool:
    """Whether what autograd keeps of one pass fits the memory that ComfyUI reports as free."""
    pixels = latent.shape[0] * latent.shape[2] * latent.shape[3]
    needed = pixels * KEPT_PER_LATENT_PIXEL * network.get_dtype_inference().itemsize
    return needed < comfy.model_management.get_free_memory(latent.device)  # pyright: ignore  (a number unless asked for two)
