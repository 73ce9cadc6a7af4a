"""The guidance scale that a distilled model (Flux-dev, Flux.2, Hunyuan) takes as an input, from its CONDITIONING."""

from __future__ import annotations

import node_helpers
from comfy.model_patcher import ModelPatcher

from .guided import Conditioning

KEY = "guidance"
ABSENT = 3.5
"""What ComfyUI gives Flux where the CONDITIONING says nothing (`comfy.model_base.Flux`)."""


def takes_guidance(model: ModelPatcher) -> bool:
    """Whether guidance is embedded in the model."""
    return bool(model.model.model_config.unet_config.get("guidance_embed"))


def embedded_guidance(model: ModelPatcher, conditioning: Conditioning) -> float | None:
    """The guidance that the model is evaluated with; None for one that takes none, and after core's FluxDisableGuidance."""
    guidance = conditioning[0][1].get(KEY, ABSENT) if takes_guidance(model) else None
    return None if guidance is None else float(guidance)


def with_guidance(conditioning: Conditioning, guidance: float) -> Conditioning:
    """The CONDITIONING with this guidance in every entry, as core's FluxGuidance sets it."""
    return node_helpers.conditioning_set_values(conditioning, {KEY: guidance})
