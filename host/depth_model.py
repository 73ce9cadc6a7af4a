"""SD2-depth checkpoints, which ComfyUI loads but takes for inpainting ones: what is concatenated to their latent."""

from __future__ import annotations

import node_helpers
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from .clones import own_clone
from .conditioning_checks import DEPTH_INPUT_CHANNELS
from .guided import Conditioning


def depth_model(model: ModelPatcher) -> ModelPatcher:
    """A clone whose UNet gets nothing concatenated but what the conditioning brings.

    Core sees more than four input channels and would add an inpainting model's mask and masked image.
    Raises ValueError unless the UNet has five input channels.
    """
    channels = model.model.model_config.unet_config.get("in_channels")
    if channels != DEPTH_INPUT_CHANNELS:
        raise ValueError(
            f"the model's UNet has {channels} input channels, a depth model has {DEPTH_INPUT_CHANNELS} (latent and "
            "depth); load a depth checkpoint such as stable-diffusion-2-depth."
        )
    clone = own_clone(model)
    clone.add_object_patch("concat_keys", ())
    return clone


def with_depth(conditioning: Conditioning, depth: Tensor) -> Conditioning:
    """CONDITIONING that concatenates depth [B, 1, h, w] to the latent."""
    return node_helpers.conditioning_set_values(conditioning, {"noise_concat": depth})
