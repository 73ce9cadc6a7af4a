"""Random-weight models of miniature layouts in ComfyUI's own classes, for tests of shapes, dtypes and identities."""

from __future__ import annotations

from typing import Any, Literal

import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.model_sampling
import comfy.supported_models
import torch
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
from tiny_models.loader import layouts

Layout = Literal["sd15", "sd2_v", "sd2_v_zero_snr", "sd2_depth", "sdxl"]

SHAPE = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "num_res_blocks": [1, 1],
    "channel_mult": [1, 2],
    "transformer_depth_middle": 1,
    "use_spatial_transformer": True,
    "legacy": False,
}


class TinySDXL(comfy.supported_models.SDXL):
    """SDXL's layout: no attention at the first level, pooled text and sizes as a class embedding."""

    unet_config = {
        "model_channels": layouts.WIDTH,
        "use_linear_in_transformer": True,
        "transformer_depth": [0, 1],
        "context_dim": 64,
        "adm_in_channels": 64 + 6 * 256,
        "use_temporal_attention": False,
    }
    unet_extra_config = {"num_heads": -1, "num_head_channels": 16}


def random_model(layout: Layout, seed: int = 0) -> comfy.model_patcher.ModelPatcher:
    """A MODEL of the layout with small random weights (default initialization, output convolution included)."""
    torch.manual_seed(seed)
    config_class = {"sd15": layouts.TinySD15, "sdxl": TinySDXL}.get(layout, layouts.TinySD2)
    attention = [0, 1] if layout == "sdxl" else [1, 1]
    config = config_class(
        {
            **SHAPE,
            **config_class.unet_config,
            "model_channels": layouts.WIDTH,
            "transformer_depth": attention,
            "transformer_depth_output": [depth for depth in attention for _ in range(2)],
            "in_channels": 5 if layout == "sd2_depth" else 4,
            "num_classes": "sequential" if layout == "sdxl" else None,
        }
    )
    config.set_inference_dtype(torch.float32, None)
    device = comfy.model_management.get_torch_device()
    if layout == "sdxl":
        model = comfy.model_base.SDXL(config, model_type=comfy.model_base.ModelType.EPS, device=device)
    else:
        model = comfy.model_base.BaseModel(config, model_type=config.model_type({}), device=device)
    if config.inpaint_model():
        model.set_inpaint()
    initialise(model.diffusion_model)
    if layout == "sd2_v_zero_snr":
        kind = type("ZeroSNR", (comfy.model_sampling.ModelSamplingDiscrete, comfy.model_sampling.V_PREDICTION), {})
        model.model_sampling = kind(config, zsnr=True)
    return comfy.model_patcher.ModelPatcher(model, device, torch.device("cpu"))


def random_conditioning(model: comfy.model_patcher.ModelPatcher, seed: int = 0) -> list[list[Any]]:
    """CONDITIONING of the width the model wants, with a pooled embedding for SDXL."""
    generator = torch.Generator().manual_seed(seed)
    width = model.model.model_config.unet_config["context_dim"]
    pooled = torch.randn(1, 64, generator=generator)
    return [[torch.randn(1, 77, width, generator=generator), {"pooled_output": pooled}]]


def initialise(network: UNetModel) -> None:
    """ComfyUI leaves weights uninitialized, for a checkpoint to fill."""
    for module in network.modules():
        if hasattr(module, "weight") and module.weight is not None and module.weight.ndim > 1:
            torch.nn.init.kaiming_uniform_(module.weight, a=5**0.5)
        elif hasattr(module, "weight") and module.weight is not None:
            torch.nn.init.ones_(module.weight)
        if getattr(module, "bias", None) is not None:
            torch.nn.init.zeros_(module.bias)
    for parameter in network.parameters():
        parameter.requires_grad_(False)
