"""ComfyUI's LATENT dictionaries: what is refused, what is dropped, and how a result is passed on."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import comfy.model_management
import comfy.sample
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ..inversion.facts import SIGMA_TABLE_TOLERANCE
from .naming import LOGGER

Latent = dict[str, Any]

LEVEL = "retrace_level"
"""The key of a LATENT under which its `Level` stands."""


@dataclass(frozen=True, eq=False)
class Level:
    """The position of a LATENT's samples on a trajectory.

    Attributes:
        samples: the samples it refers to, because stock nodes copy a LATENT with all its keys and put other samples into it.
        sigma: their noise level.
        inputs: the settings of a schedule that starts there, see `InversionFacts.inputs`.
    """

    samples: Tensor
    sigma: float
    inputs: str


def latent_samples(latent: Latent, model: ModelPatcher) -> Tensor:
    """The samples [B, C, H, W] of a LATENT, with the model's number of channels; [B, C, 1, H, W] where it has frames.

    Raises ValueError for nested latents, for more frames than one, and for another number of channels.
    """
    samples = latent["samples"]
    if samples.is_nested:
        raise ValueError("the latent is nested (several latents in one); give the latent of one image batch.")
    samples = comfy.sample.fix_empty_latent_channels(model, samples, latent.get("downscale_ratio_spacial"))
    latent_format: Any = model.get_model_object("latent_format")
    if samples.ndim == 5 and latent_format.latent_dimensions == 3:
        if samples.shape[2] != 1:
            raise ValueError(
                f"the latent is a video of {samples.shape[2]} latent frames, but only single images are inverted so far; give "
                "one frame (Image From Batch, then VAE Encode)."
            )
    elif samples.ndim != 4:
        raise ValueError(
            f"the latent has {samples.ndim} dimensions {tuple(samples.shape)}, as video latents have; "
            "give an image latent [batch, channels, height, width]."
        )
    channels = latent_format.latent_channels
    if samples.shape[1] != channels:
        raise ValueError(
            f"the latent has {samples.shape[1]} channels, the model works with {channels}; "
            "encode the image with this model's own VAE."
        )
    return samples


def image_samples(latent: Latent, model: ModelPatcher) -> Tensor:
    """`latent_samples` of an encoded image. Raises ValueError, too, for a trajectory's state, which is an image with noise."""
    level = _level(latent)
    if level is not None:
        raise ValueError(
            f"the latent is a trajectory's state at sigma {level.sigma:.4f}, with its noise; give the image itself (VAE Encode)."
        )
    return latent_samples(latent, model)


def latent_scale(model: ModelPatcher) -> int:
    """The side in pixels of what one latent pixel encodes; the model's VAE cuts an image down to multiples of it."""
    latent_format: Any = model.get_model_object("latent_format")
    return latent_format.spacial_downscale_ratio


def picture_size(model: ModelPatcher, samples: Tensor) -> tuple[int, int]:
    """Height and width in pixels of the image that samples [..., h, w] encode."""
    scale = latent_scale(model)
    return samples.shape[-2] * scale, samples.shape[-1] * scale


def difference_out(model: ModelPatcher, difference: Tensor) -> Tensor:
    """A difference of states [..., C, (T,) H, W] in the scale of a LATENT: scaled as they are, but not shifted."""
    process_out = model.model.process_latent_out
    return process_out(difference) - process_out(torch.zeros_like(difference))


def difference_in(model: ModelPatcher, difference: Tensor) -> Tensor:
    """The inverse of `difference_out`."""
    process_in = model.model.process_latent_in
    return process_in(difference) - process_in(torch.zeros_like(difference))


def without_noise_mask(latent: Latent) -> Latent:
    """A copy of the LATENT without its noise_mask; logs a line if there was one.

    ComfyUI would use an inversion's noisy latent as the clean background outside the mask.
    """
    copy = dict(latent)
    if copy.pop("noise_mask", None) is not None:
        logging.getLogger(LOGGER).warning(
            "the latent's noise_mask is dropped, because an inverted latent carries noise everywhere and would show "
            "outside the mask; use the mask when you composite the result."
        )
    return copy


def with_samples(latent: Latent, samples: Tensor) -> Latent:
    """A copy of the LATENT with other samples, on the device where ComfyUI keeps results."""
    copy = {name: value for name, value in latent.items() if not name.startswith("downscale_ratio") and name != LEVEL}
    copy["samples"] = samples.to(comfy.model_management.intermediate_device())
    return copy


def require_level(latent: Latent, sigma: float, chosen: str) -> None:
    """Raise ValueError, naming what was `chosen`, if the samples are a trajectory's state at a level other than sigma."""
    level = _level(latent)
    if level is not None and abs(sigma - level.sigma) > SIGMA_TABLE_TOLERANCE * level.sigma:
        raise ValueError(
            f"{chosen} begin at sigma {sigma:.4f}, but the latent is the trajectory's state at sigma "
            f"{level.sigma:.4f}; give {level.inputs}."
        )


def _level(latent: Latent) -> Level | None:
    """Where the samples are on a trajectory; None if they are not its state, or no longer."""
    level: Level | None = latent.get(LEVEL)
    return level if level is not None and level.samples is latent["samples"] else None
