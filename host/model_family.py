"""Which family a loaded MODEL belongs to, as the table of edits is keyed."""

from __future__ import annotations

import comfy.supported_models
from comfy.model_patcher import ModelPatcher

from ..editing.recipes import Family
from .model_facts import path_of

LATENT_CHANNELS = 4

FAMILIES: tuple[tuple[Family, type], ...] = (
    ("sd1", comfy.supported_models.SD15),
    ("sd2", comfy.supported_models.SD20),
    ("sdxl", comfy.supported_models.SDXL),
)


def model_family(model: ModelPatcher) -> Family:
    """Raises ValueError for a model of no known family, and for one that takes more than an image (inpainting, depth)."""
    path_of(model)
    config = model.model.model_config
    family: Family | None = next((name for name, of in FAMILIES if isinstance(config, of)), None)
    if family is None:
        raise ValueError(
            f"there are no settings for this model ({type(config).__name__}); load an SD1.x, SD2.x or SDXL checkpoint."
        )
    channels = config.unet_config.get("in_channels", LATENT_CHANNELS)
    if channels != LATENT_CHANNELS:
        raise ValueError(
            f"the model takes {channels} input channels, as inpainting and depth checkpoints do; load the plain checkpoint "
            "of the same family."
        )
    return family
