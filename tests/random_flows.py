"""Random-weight rectified flows in ComfyUI's own classes, at small widths: for tests of shapes, formats and identities."""

from __future__ import annotations

from typing import Any, Literal

import comfy.controlnet
import comfy.model_management
import comfy.model_patcher
import comfy.ops
import comfy.supported_models
import torch
from comfy.ldm.flux.controlnet import ControlNetFlux
from torch import Tensor, nn

Family = Literal["flux", "schnell", "flux2", "sd3", "qwen", "lumina2", "z_image", "chroma", "wan", "anima"]

CONTEXT = 32
ROPE = {"axes_dim": [8, 12, 12], "theta": 10000, "patch_size": 2, "qkv_bias": True}
FLUX = {
    **ROPE, "image_model": "flux", "in_channels": 16, "out_channels": 16, "vec_in_dim": 24, "context_in_dim": CONTEXT,
    "hidden_size": 64, "mlp_ratio": 2.0, "num_heads": 2, "depth": 1, "depth_single_blocks": 1, "txt_ids_dims": [],
}  # fmt: skip
LUMINA = {
    "image_model": "lumina2", "patch_size": 2, "in_channels": 16, "dim": 64, "cap_feat_dim": CONTEXT, "n_layers": 2,
    "n_refiner_layers": 1, "qk_norm": True, "n_heads": 2, "n_kv_heads": 2, "axes_dims": [8, 12, 12], "axes_lens": [64, 64, 64],
    "rope_theta": 10000.0, "ffn_dim_multiplier": 1.0, "multiple_of": 32,
}  # fmt: skip
CONFIGS: dict[Family, tuple[str, dict[str, Any]]] = {
    "flux": ("Flux", {**FLUX, "guidance_embed": True}),
    "schnell": ("FluxSchnell", {**FLUX, "guidance_embed": False}),
    "flux2": (
        "Flux2",
        {
            **FLUX, "image_model": "flux2", "in_channels": 128, "out_channels": 128, "patch_size": 1, "guidance_embed": True,
            "axes_dim": [8, 8, 8, 8], "txt_ids_dims": [3], "global_modulation": True, "mlp_silu_act": True, "qkv_bias": False,
            "ops_bias": False, "vec_in_dim": None,
        },
    ),
    "sd3": (
        "SD3",
        {
            "in_channels": 16, "patch_size": 2, "depth": 1, "input_size": None, "adm_in_channels": 24, "num_patches": 64,
            "pos_embed_max_size": 8, "pos_embed_scaling_factor": None, "context_size": CONTEXT, "qk_norm": "rms",
            "context_embedder_config": {
                "target": "torch.nn.Linear", "params": {"in_features": CONTEXT, "out_features": 64}
            },
        },
    ),
    "qwen": (
        "QwenImage",
        {
            "image_model": "qwen_image", "num_layers": 2, "attention_head_dim": 32, "num_attention_heads": 2,
            "joint_attention_dim": CONTEXT, "axes_dims_rope": (8, 12, 12),
        },
    ),
    "lumina2": ("Lumina2", LUMINA),
    "z_image": (
        "ZImage", {**LUMINA, "z_image_modulation": True, "time_scale": 1000.0, "pad_tokens_multiple": 32, "dim": 256, "n_heads": 8,
         "n_kv_heads": 8},
    ),
    "chroma": (
        "Chroma",
        {
            **FLUX, "image_model": "chroma", "in_channels": 64, "out_channels": 64,
            "in_dim": 64, "out_dim": 64, "hidden_dim": 32, "n_layers": 1, "vec_in_dim": 24,
        },
    ),
}  # fmt: skip
VIDEO_CONFIGS: dict[Family, tuple[str, dict[str, Any]]] = {
    "wan": (
        "WAN21_T2V",
        {
            "image_model": "wan2.1", "model_type": "t2v", "dim": 64, "ffn_dim": 64, "freq_dim": 32, "text_dim": CONTEXT,
            "num_heads": 2, "num_layers": 2,
        },
    ),
    "anima": (
        "Anima",
        {
            "image_model": "anima", "max_img_h": 16, "max_img_w": 16, "max_frames": 4, "in_channels": 16, "out_channels": 16,
            "patch_spatial": 2, "patch_temporal": 1, "model_channels": 64, "num_blocks": 2, "num_heads": 2,
            "crossattn_emb_channels": CONTEXT, "pos_emb_cls": "rope3d", "use_adaln_lora": True, "adaln_lora_dim": 16,
            "rope_enable_fps_modulation": False,
        },
    ),
}  # fmt: skip
"""Made of the networks of video models, for one frame: tests of everything would take as long again for them."""
GUIDED = ("flux", "flux2")
"""The families that take `guidance` in place of a negative prompt."""


def random_flow(
    family: Family, seed: int = 0, gain: float = 1.0, dtype: torch.dtype = torch.float32
) -> comfy.model_patcher.ModelPatcher:
    """A MODEL whose velocity is a smooth random function of the state, the level and the prompt, times `gain`."""
    torch.manual_seed(seed)
    kind, unet_config = {**CONFIGS, **VIDEO_CONFIGS}[family]
    config = getattr(comfy.supported_models, kind)(dict(unet_config))
    config.set_inference_dtype(dtype, None)
    device = comfy.model_management.get_torch_device()
    model = config.get_model({}, device=device)
    network = model.diffusion_model
    if family == "anima":  # of full width, and only for the tokens of its own text encoder
        del network.llm_adapter
    _initialize(network)
    for name, buffer in network.named_buffers():
        if name == "pos_embed":  # of SD3: a checkpoint brings it, and until then it is uninitialized memory
            nn.init.trunc_normal_(buffer, std=0.02)
    for parameter in _last_layer(network).parameters():
        parameter.mul_(gain)
    return comfy.model_patcher.ModelPatcher(model, device, torch.device("cpu"))


def random_flux_control() -> comfy.controlnet.ControlNet:
    """A CONTROL_NET for the family "schnell", in the layout of XLabs, which takes the picture itself as the hint."""
    torch.manual_seed(0)
    config = {name: value for name, value in CONFIGS["schnell"][1].items() if name != "image_model"}
    network = ControlNetFlux(**config, operations=comfy.ops.manual_cast, dtype=torch.float32, device="cpu")
    _initialize(network)
    device = comfy.model_management.get_torch_device()
    return comfy.controlnet.ControlNet(network, load_device=device, extra_conds=["y", "guidance"])


def _initialize(network: nn.Module) -> None:
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(False)
        if parameter.ndim > 1:
            nn.init.kaiming_uniform_(parameter, a=5**0.5)
        else:
            (nn.init.zeros_ if name.endswith("bias") else nn.init.ones_)(parameter)


def random_prompt(family: Family, seed: int = 0, tokens: int = 7, guidance: float | None = None) -> list[list[Any]]:
    """CONDITIONING of the width that the family takes."""
    generator = torch.Generator().manual_seed(seed)
    settings: dict[str, Any] = {"pooled_output": torch.randn(1, 24, generator=generator)}
    if family in ("lumina2", "z_image", "qwen", "flux2", *VIDEO_CONFIGS):
        settings = {}
    if guidance is not None:
        settings["guidance"] = guidance
    return [[torch.randn(1, tokens, CONTEXT, generator=generator), settings]]


def random_image(family: Family, images: int = 1, size: tuple[int, int] = (8, 8), seed: int = 0) -> Tensor:
    """A LATENT's samples as a VAE of the family gives them: of about the size of a picture's."""
    channels = {"flux2": 128}.get(family, 16)
    frames = (1,) if family in ("qwen", *VIDEO_CONFIGS) else ()
    shape = (images, channels, *frames, *size)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _last_layer(network: nn.Module) -> nn.Module:
    layer = next(getattr(network, name) for name in ("final_layer", "proj_out", "head") if hasattr(network, name))
    return getattr(layer, "linear", None) or getattr(layer, "head", layer)  # pyright: ignore[reportReturnType]
