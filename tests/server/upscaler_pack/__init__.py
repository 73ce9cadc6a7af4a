"""A custom node pack for the server tests: the miniatures' loader, with the layout of SD2's x4 upscaler besides."""

import sys
from pathlib import Path

import comfy.supported_models

sys.path.append(str(Path(__file__).resolve().parent.parent.parent / "tiny_models"))

from loader import layouts


class TinyX4Upscaler(layouts.TinySD2):
    """Seven channels in, the noise level as a class, self-attention only in the middle."""

    unet_config = {**layouts.TinySD2.unet_config, "in_channels": 7}
    unet_extra_config = {
        **layouts.TinySD2.unet_extra_config,
        "disable_self_attentions": [True, True, True],
        "num_classes": 1000,
    }
    latent_format = comfy.supported_models.SD_X4Upscaler.latent_format
    sampling_settings = comfy.supported_models.SD_X4Upscaler.sampling_settings
    get_model = comfy.supported_models.SD_X4Upscaler.get_model


layouts.register()
# Before the other layouts: the first that fits is taken, and the upscaler is an SD2 with more channels.
comfy.supported_models.models.insert(0, TinyX4Upscaler)

NODE_CLASS_MAPPINGS: dict[str, type] = {}
