"""Which backbone a model has: a new kind of network is one file and one line here."""

from __future__ import annotations

from comfy.model_patcher import ModelPatcher

from .backbone import Backbone
from .unet import unet_of


def backbone_of(model: ModelPatcher) -> Backbone:
    """The model's network as a backbone.

    Raises ValueError for a model that has no UNet with cross-attention (Flux, SD3, ...).
    """
    backbone = unet_of(model.get_model_object("diffusion_model"))
    if backbone is None:
        raise ValueError(
            f"the model ({type(model.model).__name__}) has no UNet with cross-attention, which is what this node edits; "
            "load an SD1.x, SD2.x or SDXL checkpoint."
        )
    return backbone
