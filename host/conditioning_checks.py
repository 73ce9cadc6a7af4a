"""Check before the network is evaluated that a CONDITIONING fits the model and the levels of a run."""

from __future__ import annotations

import math
from typing import Any

import torch
from comfy.model_base import SDXL, SDXLRefiner
from comfy.model_patcher import ModelPatcher
from torch import Tensor

DEPTH_INPUT_CHANNELS = 5
# Sizes and scores that SDXL's networks take beside the pooled embedding, each as an embedding of its own.
SDXL_NUMBERS, REFINER_NUMBERS = 6, 5
CLIP_OF_THE_MODEL = "encode the prompt with the CLIP that belongs to the model"


def require_conditioning(model: ModelPatcher, entries: list[Any], name: str, sigmas: Tensor, rows: int) -> None:
    """Raise ValueError, naming the input, unless the network can be evaluated under the CONDITIONING at every level.

    Args:
        sigmas: the levels of the run [N+1], in either order; at the lowest one the network is not evaluated.
        rows: of the latent batch.

    Refused are an empty list, entries without an embedding or with one of another width, NaN, prompts that ComfyUI would
    leave out because the latents are fewer, SDXL without a pooled embedding of its width, a depth checkpoint without depth,
    and a level at which no entry is active.
    """
    if not entries:
        raise ValueError(f"{name} is an empty list, but the run needs a prompt; connect CLIP Text Encode.")
    config = model.model.model_config.unet_config
    width = config.get("context_dim")
    for embedding, settings in entries:
        if embedding is None:
            raise ValueError(f"{name} holds None in place of an embedding; {CLIP_OF_THE_MODEL}.")
        if width is not None and embedding.shape[-1] != width:
            raise ValueError(
                f"{name} has embeddings of width {embedding.shape[-1]}, but the model takes {width}; {CLIP_OF_THE_MODEL}."
            )
        if not bool(torch.isfinite(embedding).all()):
            raise ValueError(f"{name} holds NaN or infinite values; look at the node that made it.")
        if rows % len(embedding):
            raise ValueError(
                f"{name} has {len(embedding)} rows (prompts of a batch), but there are {rows} latents, so that some rows would "
                "be ignored; give one prompt, or as many latents as prompts (Repeat Latent Batch)."
            )
        if isinstance(model.model, (SDXL, SDXLRefiner)) and "unclip_conditioning" not in settings:
            _require_pooled(model.model, settings.get("pooled_output"), name)
        if config.get("in_channels") == DEPTH_INPUT_CHANNELS and settings.get("noise_concat") is None:
            raise ValueError(
                f"{name} carries no depth, but the model is a depth checkpoint; send the model and its prompts through "
                "Depth To Image first."
            )
    _require_every_level(model, entries, name, sigmas)


def _require_pooled(network: SDXL | SDXLRefiner, pooled: Tensor | None, name: str) -> None:
    if pooled is None:
        raise ValueError(f"{name} has no pooled embedding, which SDXL needs; {CLIP_OF_THE_MODEL}.")
    numbers = REFINER_NUMBERS if isinstance(network, SDXLRefiner) else SDXL_NUMBERS
    width = network.model_config.unet_config["adm_in_channels"] - numbers * network.embedder.dim
    if pooled.shape[-1] != width:
        raise ValueError(
            f"{name} has a pooled embedding of width {pooled.shape[-1]}, but the model takes {width}; {CLIP_OF_THE_MODEL}."
        )


def _require_every_level(model: ModelPatcher, entries: list[Any], name: str, sigmas: Tensor) -> None:
    to_sigma: Any = model.get_model_object("model_sampling")
    windows = [_window(settings, to_sigma.percent_to_sigma) for _, settings in entries]
    for sigma in sigmas[sigmas > sigmas.min()].tolist():
        if not any(low <= sigma <= high for low, high in windows):
            raise ValueError(
                f"{name} is not active at sigma {sigma:.4f}, a level of this run (timestep ranges leave a gap); leave out "
                "ConditioningSetTimestepRange, or combine conditionings that cover the whole range."
            )


def _window(settings: dict[str, Any], percent_to_sigma: Any) -> tuple[float, float]:  # noqa: ANN401
    """(lowest, highest) sigma at which ComfyUI evaluates the network under an entry."""
    start = max(settings.get("start_percent", 0.0), settings.get("clip_start_percent", 0.0))
    end = min(settings.get("end_percent", 1.0), settings.get("clip_end_percent", 1.0))
    return (
        float(percent_to_sigma(end)) if end < 1 else -math.inf,
        float(percent_to_sigma(start)) if start > 0 else math.inf,
    )
