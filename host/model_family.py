"""Which family a loaded MODEL belongs to, as the table of edits is keyed."""

from __future__ import annotations

import comfy.supported_models
from comfy.model_patcher import ModelPatcher

from ..editing.recipes import Family
from .embedded_guidance import takes_guidance
from .model_facts import path_of

FAMILIES: tuple[tuple[Family, type, int | None], ...] = (
    ("sd1", comfy.supported_models.SD15, 4),
    ("sd2", comfy.supported_models.SD20, 4),
    ("sdxl", comfy.supported_models.SDXL, 4),
    ("flux_cfg", comfy.supported_models.FluxSchnell, 16),
    ("flux2", comfy.supported_models.Flux2, 128),
    ("flux", comfy.supported_models.Flux, 16),
    ("sd3", comfy.supported_models.SD3, 16),
    ("qwen_image", comfy.supported_models.QwenImage, None),
    ("z_image", comfy.supported_models.ZImage, None),
    ("lumina2", comfy.supported_models.Lumina2, None),
    ("chroma", comfy.supported_models.Chroma, None),
    ("anima", comfy.supported_models.Anima, None),
)
"""The family, the class of its models and their input channels, None where no model of the family has others. A class goes before
those it is derived from."""


def model_family(model: ModelPatcher) -> Family:
    """Raises ValueError for a model of no known family, and for one that takes more than an image (inpainting, depth)."""
    path_of(model)
    config = model.model.model_config
    entry = next((entry for entry in FAMILIES if isinstance(config, entry[1])), None)
    if entry is None:
        raise ValueError(
            f"there are no settings for this model ({type(config).__name__}); load an SD1.x, SD2.x or SDXL checkpoint, or a flow "
            "such as Flux, SD3 or Qwen-Image."
        )
    family, _, plain = entry
    channels = config.unet_config.get("in_channels", plain)
    if plain is not None and channels != plain:
        raise ValueError(
            f"the model takes {channels} input channels, as inpainting and depth checkpoints do; load the plain checkpoint "
            "of the same family."
        )
    # Flux.2 klein, which ComfyUI loads as the same class.
    return "flux2_cfg" if family == "flux2" and not takes_guidance(model) else family
