"""ComfyUI model classes for miniature checkpoints: the layouts are core's own, only the widths and the text encoder differ."""

from __future__ import annotations

from typing import Any

import comfy.sd1_clip
import comfy.supported_models
import comfy.supported_models_base
import comfy.text_encoders.sd2_clip
import torch

CONTEXT = 128
VOCABULARY = 49408
TOKEN_IDS = "token_ids"

TEXT_CONFIG = {
    "num_hidden_layers": 2,
    "hidden_size": CONTEXT,
    "num_attention_heads": 4,
    "intermediate_size": 4 * CONTEXT,
    "hidden_act": "quick_gelu",
    "max_position_embeddings": 77,
    "layer_norm_eps": 1e-5,
    "eos_token_id": 49407,
    "vocab_size": VOCABULARY,
}


class TinyClipL(comfy.sd1_clip.SDClipModel):
    """SD1's text encoder, two layers wide 128: the last layer, normed; padded with the end token."""

    def __init__(self, device: Any = "cpu", dtype: Any = None, model_options: dict[str, Any] | None = None) -> None:
        super().__init__(
            device=device,
            dtype=dtype,
            textmodel_json_config=dict(TEXT_CONFIG),
            return_projected_pooled=False,
            model_options=model_options or {},
        )


class TinyClipH(comfy.sd1_clip.SDClipModel):
    """SD2's text encoder likewise, padded with token 0."""

    def __init__(self, device: Any = "cpu", dtype: Any = None, model_options: dict[str, Any] | None = None) -> None:
        super().__init__(
            device=device,
            dtype=dtype,
            textmodel_json_config=dict(TEXT_CONFIG),
            special_tokens={"start": 49406, "end": 49407, "pad": 0},
            model_options=model_options or {},
        )


class TinySD1Clip(comfy.sd1_clip.SD1ClipModel):
    def __init__(self, device: Any = "cpu", dtype: Any = None, model_options: dict[str, Any] | None = None) -> None:
        super().__init__(device, dtype, model_options or {}, clip_name="l", clip_model=TinyClipL)


class TinySD2Clip(comfy.sd1_clip.SD1ClipModel):
    def __init__(self, device: Any = "cpu", dtype: Any = None, model_options: dict[str, Any] | None = None) -> None:
        super().__init__(device, dtype, model_options or {}, clip_name="h", clip_model=TinyClipH)


class TinySD15(comfy.supported_models.SD15):
    """tiny_sd15.safetensors: epsilon prediction."""

    unet_config = {**comfy.supported_models.SD15.unet_config, "context_dim": CONTEXT, "model_channels": 64}

    def process_clip_state_dict(self, state_dict: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return _with_full_vocabulary(super().process_clip_state_dict(state_dict), "clip_l")

    def clip_target(self, state_dict: dict[str, torch.Tensor] | None = None) -> Any:
        return comfy.supported_models_base.ClipTarget(comfy.sd1_clip.SD1Tokenizer, TinySD1Clip)


class TinySD2(comfy.supported_models.SD20):
    """tiny_sd2_v.safetensors: v-prediction, linear projections, OpenCLIP's names and padding, SD15's attention heads."""

    unet_config = {**comfy.supported_models.SD20.unet_config, "context_dim": CONTEXT, "model_channels": 64}
    unet_extra_config = comfy.supported_models.SD15.unet_extra_config

    def model_type(self, state_dict: dict[str, torch.Tensor], prefix: str = "") -> Any:
        return comfy.model_base.ModelType.V_PREDICTION

    def process_clip_state_dict(self, state_dict: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return _with_full_vocabulary(super().process_clip_state_dict(state_dict), "clip_h")

    def clip_target(self, state_dict: dict[str, torch.Tensor] | None = None) -> Any:
        return comfy.supported_models_base.ClipTarget(comfy.text_encoders.sd2_clip.SD2Tokenizer, TinySD2Clip)


class TinyX4Upscaler(TinySD2):
    """SD2's x4 upscaler: seven channels in, the noise level as a class, no self-attention at the first level."""

    unet_config = {**TinySD2.unet_config, "in_channels": 7}
    unet_extra_config = {
        **TinySD2.unet_extra_config,
        "disable_self_attentions": [True, False],
        "num_classes": 1000,
    }
    latent_format = comfy.supported_models.SD_X4Upscaler.latent_format
    sampling_settings = comfy.supported_models.SD_X4Upscaler.sampling_settings
    get_model = comfy.supported_models.SD_X4Upscaler.get_model


# The first that fits is taken, and the upscaler is an SD2 with more channels.
LAYOUTS = (TinySD15, TinyX4Upscaler, TinySD2)


def register() -> None:
    """Let the stock CheckpointLoaderSimple recognize these layouts (once, however often it is called)."""
    known = comfy.supported_models.models
    known.extend(layout for layout in LAYOUTS if layout not in known)


def _with_full_vocabulary(state_dict: dict[str, torch.Tensor], clip: str) -> dict[str, torch.Tensor]:
    """Spread the stored token rows over the whole vocabulary; a word the model never saw gets a zero embedding."""
    token_ids = state_dict.pop(f"{clip}.{TOKEN_IDS}", None)
    if token_ids is not None:
        key = f"{clip}.transformer.text_model.embeddings.token_embedding.weight"
        rows = state_dict[key]
        table = torch.zeros(VOCABULARY, rows.shape[1], dtype=rows.dtype)
        table[token_ids.long()] = rows
        state_dict[key] = table
        state_dict[f"{clip}.transformer.text_projection.weight"] = torch.eye(rows.shape[1], dtype=rows.dtype)
    return state_dict
