"""Between the modules that are trained (diffusers, transformers) and the checkpoint files that ComfyUI loads."""

from __future__ import annotations

from pathlib import Path

import comfy.supported_models
import comfy.utils
import torch
from captions import Vocabulary
from diffusers import AutoencoderTiny
from diffusion import Dataset, TextToLatent
from layouts import TOKEN_IDS
from safetensors.torch import load_file, save_file

SCALING_FACTOR = 0.18215
"""ComfyUI's SD15 latent format multiplies a VAE's latents by this before the UNet sees them."""

UNET_SHAPE = {
    "num_res_blocks": [1, 1],
    "channel_mult": [1, 2],
    "transformer_depth": [1, 1],
    "transformer_depth_output": [1, 1, 1, 1],
    "transformer_depth_middle": 1,
}
UNET, TEXT, VAE = "model.diffusion_model.", "cond_stage_model.", "first_stage_model."
State = dict[str, torch.Tensor]


def save(
    path: Path, model: TextToLatent, autoencoder: AutoencoderTiny, dataset: Dataset, vocabulary: Vocabulary
) -> None:
    """Write an fp16 checkpoint: SD1's text encoder names, or OpenCLIP's where the UNet has linear projections (SD2)."""
    names = comfy.utils.unet_to_diffusers(UNET_SHAPE)
    state = {UNET + names[key]: value for key, value in model.unet.state_dict().items()}
    text = {f"transformer.text_model.{key}": value for key, value in model.text_encoder.state_dict().items()}
    text.pop("transformer.text_model.embeddings.position_ids", None)
    if _is_sd2(model):
        saved = comfy.supported_models.SD20.process_clip_state_dict_for_saving
        state |= saved(None, {f"clip_h.{key}": value for key, value in text.items()})  # pyright: ignore
        state[f"{TEXT}model.{TOKEN_IDS}"] = vocabulary.token_ids
    else:
        state |= {TEXT + key: value for key, value in text.items()}
        state[TEXT + TOKEN_IDS] = vocabulary.token_ids
    state |= {VAE + key: value for key, value in _taesd_names(autoencoder).items()}
    scale = SCALING_FACTOR * dataset.latent_std
    state[f"{VAE}vae_scale"] = torch.tensor(scale)
    state[f"{VAE}vae_shift"] = torch.tensor(-dataset.latent_mean / scale)
    save_file({key: _stored(value) for key, value in state.items()}, path)


def load_for_diffusers(path: Path, linear_projection: bool, vocabulary: Vocabulary) -> tuple[TextToLatent, float]:
    """The UNet and text encoder of a checkpoint in float32 as diffusers and transformers know them, and `vae_scale`.

    Used to hold our nodes against the reference libraries on the same weights.
    """
    state = {key: value.float() for key, value in load_file(path).items() if value.is_floating_point()}
    model = TextToLatent(len(vocabulary.token_ids), linear_projection).eval().requires_grad_(False)
    names = comfy.utils.unet_to_diffusers(UNET_SHAPE)
    model.unet.load_state_dict({key: state[UNET + names[key]] for key in model.unet.state_dict()})
    if linear_projection:
        process = comfy.supported_models.SD20.process_clip_state_dict
        text = {key.removeprefix("clip_h."): value for key, value in process(None, dict(state)).items()}  # pyright: ignore
    else:
        text = {key.removeprefix(TEXT): value for key, value in state.items() if key.startswith(TEXT)}
    prefix = "transformer.text_model."
    model.text_encoder.load_state_dict(
        {key.removeprefix(prefix): value for key, value in text.items() if key.startswith(prefix)}, strict=False
    )
    return model, state[f"{VAE}vae_scale"].item()


def _is_sd2(model: TextToLatent) -> bool:
    return bool(model.unet.config["use_linear_projection"])


def _taesd_names(autoencoder: AutoencoderTiny) -> State:
    """TAESD numbers the decoder's layers from its clamp, which diffusers applies outside them."""
    state = {}
    for key, value in autoencoder.state_dict().items():
        side, _, layer, rest = key.split(".", 3)
        number = int(layer) + (1 if side == "decoder" else 0)
        state[f"taesd_{side}.{number}.{rest}"] = value
    return state


def _stored(value: torch.Tensor) -> torch.Tensor:
    value = value.detach().cpu().contiguous()
    return value.half() if value.is_floating_point() else value.to(torch.int32)
