"""ComfyUI's LATENT dictionaries: what is refused, what is dropped, and how a result is handed on."""

from __future__ import annotations

import logging
from typing import Any

import comfy.model_management
import comfy.sample
from comfy.model_patcher import ModelPatcher
from torch import Tensor

Latent = dict[str, Any]


def latent_samples(latent: Latent, model: ModelPatcher, node: str) -> Tensor:
    """The samples [B, C, H, W] of a LATENT, with the model's number of channels.

    Raises ValueError, naming `node`, for nested or video latents, and another number of channels.
    """
    samples = latent["samples"]
    if samples.is_nested:
        raise ValueError(f"{node}: the latent is nested (several latents in one); give the latent of one image batch.")
    samples = comfy.sample.fix_empty_latent_channels(model, samples, latent.get("downscale_ratio_spacial"))
    if samples.ndim != 4:
        raise ValueError(
            f"{node}: the latent has {samples.ndim} dimensions {tuple(samples.shape)}, as video latents have; "
            "give an image latent [batch, channels, height, width]."
        )
    channels = model.get_model_object("latent_format").latent_channels
    if samples.shape[1] != channels:
        raise ValueError(
            f"{node}: the latent has {samples.shape[1]} channels, the model works with {channels}; "
            "encode the image with this model's own VAE."
        )
    return samples


def without_noise_mask(latent: Latent, node: str) -> Latent:
    """A copy of the LATENT without its noise_mask, and a log line when there was one.

    Core would take the noisy latent of an inversion for the clean background outside the mask.
    """
    copy = dict(latent)
    if copy.pop("noise_mask", None) is not None:
        logging.warning(
            "%s: the latent's noise_mask is dropped, because an inverted latent carries noise everywhere and would show "
            "outside the mask; use the mask when you composite the result.",
            node,
        )
    return copy


def with_samples(latent: Latent, samples: Tensor) -> Latent:
    """A copy of the LATENT that carries other samples, on the device that ComfyUI keeps results on."""
    copy = {name: value for name, value in latent.items() if not name.startswith("downscale_ratio")}
    copy["samples"] = samples.to(comfy.model_management.intermediate_device())
    return copy
