"""Between the modules that are trained (diffusers, transformers) and the files that ComfyUI's stock loaders take.

The repository keeps parts, so that the autoencoder and the text encoder are stored once; `join` makes a checkpoint of them.
"""

from __future__ import annotations

from pathlib import Path

import comfy.supported_models
import comfy.utils
import torch
from diffusers import ControlNetModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from . import controlnet, lora
from .diffusion import CHANNELS, TextToLatent
from .loader.layouts import TOKEN_IDS
from .lora import RANK, LowRank
from .vocabulary import Vocabulary, vocabulary
from .work import Work

SCALING_FACTOR = 0.18215
"""ComfyUI's SD15 latent format multiplies a VAE's latents by this before the UNet sees them."""

UNET_SHAPE = {
    "num_res_blocks": [1, 1, 1],
    "channel_mult": [1, 1, 1],
    "transformer_depth": [0, 1, 1],
    "transformer_depth_output": [0, 0, 1, 1, 1, 1],
    "transformer_depth_middle": 1,
}
UNET, TEXT, VAE = "model.diffusion_model.", "cond_stage_model.", "first_stage_model."
VAE_PART, TEXT_PART = "tiny_vae", "tiny_text"
State = dict[str, Tensor]


def vae_part(autoencoder: nn.Module, mean: float, deviation: float) -> State:
    """TAESD's names. It numbers the decoder's layers from its clamp, which diffusers applies outside of them."""
    state = {}
    for key, value in autoencoder.state_dict().items():
        side, _, layer, rest = key.split(".", 3)
        number = int(layer) + (1 if side == "decoder" else 0)
        state[f"taesd_{side}.{number}.{rest}"] = value
    scale = SCALING_FACTOR * deviation
    return state | {"vae_scale": torch.tensor(scale), "vae_shift": torch.tensor(-mean / scale)}


def text_part(model: TextToLatent, vocabulary: Vocabulary) -> State:
    state = {f"transformer.text_model.{key}": value for key, value in model.text_encoder.state_dict().items()}
    state.pop("transformer.text_model.embeddings.position_ids", None)
    return state | {TOKEN_IDS: vocabulary.token_ids}


def unet_part(model: TextToLatent) -> State:
    names = comfy.utils.unet_to_diffusers(UNET_SHAPE)
    return {UNET + names[key]: value for key, value in model.unet.state_dict().items()}


def controlnet_part(network: ControlNetModel) -> State:
    """The names of the original ControlNet."""
    names = dict(comfy.utils.unet_to_diffusers(UNET_SHAPE))
    renamed = {}
    for key, value in network.state_dict().items():
        part, _, rest = key.partition(".")
        if part == "controlnet_cond_embedding":
            layer, _, kind = rest.rpartition(".")
            last = 2 * len(network.controlnet_cond_embedding.blocks) + 2
            position = {"conv_in": 0, "conv_out": last}.get(layer)
            position = 2 * (int(layer.split(".")[1]) + 1) if position is None else position
            renamed[f"input_hint_block.{position}.{kind}"] = value
        elif part == "controlnet_down_blocks":
            number, _, kind = rest.partition(".")
            renamed[f"zero_convs.{number}.0.{kind}"] = value
        elif part == "controlnet_mid_block":
            renamed[f"middle_block_out.0.{rest}"] = value
        else:
            renamed[names[key]] = value
    return renamed


def lora_part(model: TextToLatent) -> State:
    """The low-rank matrices under the names of kohya's scripts, which every loader knows."""
    state = {}
    for name, module in model.unet.named_modules():
        if isinstance(module, LowRank):
            key = f"lora_unet_{name.replace('.', '_')}"
            state |= {f"{key}.lora_down.weight": module.down.weight, f"{key}.lora_up.weight": module.up.weight}
            state[f"{key}.alpha"] = torch.tensor(float(RANK))
    return state


def write_parts(work: Work) -> None:
    """One file a model, of the stages that have come to their end, in the folder `files`."""
    words, photos, folder = vocabulary(), work.photo_latents(), work.folder / "files"
    save_part(vae_part(work.autoencoder(), photos.mean, photos.deviation), folder / f"{VAE_PART}.safetensors")
    for name in CHANNELS:
        if work.has(name):
            save_part(unet_part(work.text_to_latent(name, words)), folder / f"{name}.safetensors")
    if work.has("tiny_sd15"):
        base = work.text_to_latent("tiny_sd15", words)
        save_part(text_part(base, words), folder / f"{TEXT_PART}.safetensors")
        for name, model, part in (
            ("controlnet", controlnet.build(base), controlnet_part),
            ("lora", lora.build(base), lora_part),
        ):
            if work.has(name):
                work.trained(name, model)
                save_part(part(model), folder / f"tiny_{name}.safetensors")
    work.report(f"files: {sum(file.stat().st_size for file in folder.iterdir()) / 1e6:.1f} MB")


def save_part(state: State, path: Path) -> None:
    """In fp16; token ids in int32."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({key: _stored(value) for key, value in state.items()}, path)


def join(folder: Path, name: str) -> State:
    """The full checkpoint `name` (tiny_sd15 or tiny_sd2_v) of the parts in `folder`, for CheckpointLoaderSimple."""
    unet, text, vae = (load_file(folder / f"{part}.safetensors") for part in (name, TEXT_PART, VAE_PART))
    token_ids = text.pop(TOKEN_IDS)
    if unet[f"{UNET}middle_block.1.proj_in.weight"].ndim == 2:  # SD2: linear projections, OpenCLIP's names
        saved = comfy.supported_models.SD20.process_clip_state_dict_for_saving
        state = saved(None, {f"clip_h.{key}": value for key, value in text.items()})  # pyright: ignore
        state[f"{TEXT}model.{TOKEN_IDS}"] = token_ids
    else:
        state = {TEXT + key: value for key, value in {**text, TOKEN_IDS: token_ids}.items()}
    return unet | state | {VAE + key: value for key, value in vae.items()}


def _stored(value: Tensor) -> Tensor:
    value = value.detach().cpu().contiguous()
    return value.half() if value.is_floating_point() else value.to(torch.int32)
