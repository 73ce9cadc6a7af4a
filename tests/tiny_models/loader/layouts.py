"""ComfyUI model classes for the miniatures: core's own layouts, with other widths, heads and text encoders."""

from __future__ import annotations

from functools import wraps
from typing import Any

import comfy.model_base
import comfy.sd
import comfy.sd1_clip
import comfy.supported_models
import comfy.supported_models_base
import comfy.text_encoders.sd2_clip
import torch

CONTEXT = 128
WIDTH = 64
VOCABULARY = 49408
TOKEN_IDS = "token_ids"
HEADS = {"num_heads": 4, "num_head_channels": -1}

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
    """SD1's text encoder with two layers of width 128: the last layer, normed; padded with the end token."""

    def __init__(self, device: Any = "cpu", dtype: Any = None, model_options: dict[str, Any] | None = None) -> None:
        super().__init__(
            device=device,
            dtype=dtype,
            textmodel_json_config=dict(TEXT_CONFIG),
            return_projected_pooled=False,
            model_options=model_options or {},
        )


class TinyClipH(comfy.sd1_clip.SDClipModel):
    """The same for SD2, padded with token 0."""

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


class WithTinyText:
    """The text encoder of tiny_sd15 in place of a layout's own."""

    def process_clip_state_dict(self, state_dict: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return _with_full_vocabulary(super().process_clip_state_dict(state_dict), "clip_l")  # pyright: ignore

    def clip_target(self, state_dict: dict[str, torch.Tensor] | None = None) -> Any:
        return comfy.supported_models_base.ClipTarget(comfy.sd1_clip.SD1Tokenizer, TinySD1Clip)


class TinySD15(WithTinyText, comfy.supported_models.SD15):
    """tiny_sd15: epsilon prediction."""

    unet_config = {**comfy.supported_models.SD15.unet_config, "context_dim": CONTEXT, "model_channels": WIDTH}
    unet_extra_config = HEADS


class TinySD2(comfy.supported_models.SD20):
    """tiny_sd2_v: v-prediction, linear projections, OpenCLIP's names and padding."""

    unet_config = {**comfy.supported_models.SD20.unet_config, "context_dim": CONTEXT, "model_channels": WIDTH}
    unet_extra_config = HEADS

    def model_type(self, state_dict: dict[str, torch.Tensor], prefix: str = "") -> Any:
        return comfy.model_base.ModelType.V_PREDICTION

    def process_clip_state_dict(self, state_dict: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return _with_full_vocabulary(super().process_clip_state_dict(state_dict), "clip_h")

    def clip_target(self, state_dict: dict[str, torch.Tensor] | None = None) -> Any:
        return comfy.supported_models_base.ClipTarget(comfy.text_encoders.sd2_clip.SD2Tokenizer, TinySD2Clip)


class TinyFlux(WithTinyText, comfy.supported_models.FluxSchnell):
    """tiny_flux: true classifier-free guidance."""

    unet_config = {**comfy.supported_models.FluxSchnell.unet_config, "context_in_dim": CONTEXT, "hidden_size": CONTEXT}


class TinyFluxGuided(WithTinyText, comfy.supported_models.Flux):
    """tiny_flux_guided: guidance embedded."""

    unet_config = {**comfy.supported_models.Flux.unet_config, "context_in_dim": CONTEXT, "hidden_size": CONTEXT}


LAYOUTS = (TinySD15, TinySD2, TinyFlux, TinyFluxGuided)


def register() -> None:
    """Make the stock loaders recognize these layouts, and the text encoder's own file; calling it again changes nothing.

    They go before core's layouts, of which the first match wins: stock Flux matches any width.
    """
    known = comfy.supported_models.models
    if TinyFlux not in known:
        known[:0] = LAYOUTS
        comfy.sd.load_text_encoder_state_dicts = _with_tiny_text(comfy.sd.load_text_encoder_state_dicts)


def _with_tiny_text(stock: Any) -> Any:
    """The stock function behind CLIPLoader and DualCLIPLoader, which has no table of layouts to add to.

    A second file, as T5 is for Flux, is ignored: the miniatures have one text encoder.
    """

    @wraps(stock)
    def load(state_dicts: list[dict[str, torch.Tensor]], *args: Any, **settings: Any) -> Any:
        if TOKEN_IDS not in state_dicts[0]:
            return stock(state_dicts, *args, **settings)
        settings.pop("clip_type", None)
        named = _with_full_vocabulary({f"clip_l.{key}": value for key, value in state_dicts[0].items()}, "clip_l")
        weights = {key.removeprefix("clip_l.transformer."): value for key, value in named.items()}
        target = comfy.supported_models_base.ClipTarget(comfy.sd1_clip.SD1Tokenizer, TinySD1Clip)
        return comfy.sd.CLIP(target, state_dict=[weights], **settings)

    return load


def _with_full_vocabulary(state_dict: dict[str, torch.Tensor], clip: str) -> dict[str, torch.Tensor]:
    """Spread the stored token rows over the whole vocabulary; words the model never saw get a zero embedding."""
    token_ids = state_dict.pop(f"{clip}.{TOKEN_IDS}", None)
    if token_ids is not None:
        key = f"{clip}.transformer.text_model.embeddings.token_embedding.weight"
        rows = state_dict[key]
        table = torch.zeros(VOCABULARY, rows.shape[1], dtype=rows.dtype)
        table[token_ids.long()] = rows
        state_dict[key] = table
        state_dict[f"{clip}.transformer.text_projection.weight"] = torch.eye(rows.shape[1], dtype=rows.dtype)
    return state_dict
