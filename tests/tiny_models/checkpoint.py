"""Convert between the trained modules (diffusers, transformers) and the stored parts, from which stored.py joins checkpoints."""

from __future__ import annotations

from pathlib import Path

import torch
from comfy.cli_args import args as comfy_arguments

comfy_arguments.cpu = not torch.cuda.is_available()  # before ComfyUI looks for a device

import comfy.utils  # noqa: E402
from diffusers import ControlNetModel  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from . import controlnet, flux, lora  # noqa: E402
from .diffusion import CHANNELS, CONTEXT, TextToLatent  # noqa: E402
from .flux import FlowTransformer  # noqa: E402
from .latents import Latents  # noqa: E402
from .loader.layouts import TOKEN_IDS  # noqa: E402
from .lora import RANK, LowRank  # noqa: E402
from .stored import TEXT_PART, UNET, VAE_PART, WIDE_VAE_PART, State, read_part  # noqa: E402
from .vocabulary import Vocabulary, vocabulary  # noqa: E402
from .work import BEGUN, HALF, Work  # noqa: E402

SD_FORMAT = (0.18215, 0.0)
FLUX_FORMAT = (0.3611, 0.1159)
"""ComfyUI's latent formats: (scale, shift); the network sees (latents - shift) scale."""

UNET_SHAPE = {
    "num_res_blocks": [1, 1, 1],
    "channel_mult": [1, 1, 1],
    "transformer_depth": [0, 1, 1],
    "transformer_depth_output": [0, 0, 1, 1, 1, 1],
    "transformer_depth_middle": 1,
}


def vae_part(autoencoder: nn.Module, latents: Latents, scaling: tuple[float, float] = SD_FORMAT) -> State:
    """TAESD's names. They number the decoder's layers from its clamp, which diffusers applies outside them."""
    state = {}
    for key, value in autoencoder.state_dict().items():
        side, _, layer, rest = key.split(".", 3)
        number = int(layer) + (1 if side == "decoder" else 0)
        state[f"taesd_{side}.{number}.{rest}"] = value
    scale = scaling[0] * latents.deviation
    return state | {"vae_scale": torch.tensor(scale), "vae_shift": torch.tensor(scaling[1] - latents.mean / scale)}


def text_part(model: TextToLatent, vocabulary: Vocabulary) -> State:
    state = {f"transformer.text_model.{key}": value for key, value in model.text_encoder.state_dict().items()}
    state.pop("transformer.text_model.embeddings.position_ids", None)
    return state | {TOKEN_IDS: vocabulary.token_ids}


def unet_part(model: TextToLatent) -> State:
    names = comfy.utils.unet_to_diffusers(UNET_SHAPE)
    return {UNET + names[key]: value for key, value in model.unet.state_dict().items()}


def flux_part(model: FlowTransformer) -> State:
    """Flux's own names, with a layer's query, key and value in one matrix."""
    config = model.transformer.config
    shape = {"depth": config.num_layers, "depth_single_blocks": config.num_single_layers, "hidden_size": CONTEXT}
    names, joined, state = comfy.utils.flux_to_diffusers(shape, output_prefix=UNET), {}, {}
    for key, value in model.transformer.state_dict().items():
        target = names[key]
        if isinstance(target, str):
            state[target] = value
        elif target[1] is None:
            state[target[0]] = target[2](value)
        else:
            joined.setdefault(target[0], {})[target[1][1]] = value
    return state | {key: torch.cat([parts[start] for start in sorted(parts)]) for key, parts in joined.items()}


def difference(guided: State, base: State) -> State:
    """The tensors of the guided model that the base does not have."""
    return {key: value for key, value in guided.items() if key not in base or not torch.equal(value, base[key])}


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
    """The low-rank matrices under the names of kohya's scripts, which every loader reads."""
    state = {}
    for name, module in model.unet.named_modules():
        if isinstance(module, LowRank):
            key = f"lora_unet_{name.replace('.', '_')}"
            state |= {f"{key}.lora_down.weight": module.down.weight, f"{key}.lora_up.weight": module.up.weight}
            state[f"{key}.alpha"] = torch.tensor(float(RANK))
    return state


def write_parts(work: Work) -> None:
    """Write one file per model to the folder `files`, from the stages that have finished."""
    words, folder = vocabulary(), work.folder / "files"
    save_part(vae_part(work.autoencoder(), work.photo_latents()), folder / f"{VAE_PART}.safetensors")
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
    if work.has("tiny_flux"):
        wide = vae_part(work.autoencoder(flux.CHANNELS), work.photo_latents(flux.CHANNELS), FLUX_FORMAT)
        save_part(wide, folder / f"{WIDE_VAE_PART}.safetensors")
        save_part(flux_part(work.tiny_flux()), folder / "tiny_flux.safetensors")
    if work.has("tiny_flux_guided"):
        guided = flux_part(work.trained("tiny_flux_guided", flux.guided_from(work.tiny_flux())))
        save_part(difference(guided, flux_part(work.tiny_flux())), folder / "tiny_flux_guided.safetensors")
    work.report(f"files: {sum(file.stat().st_size for file in folder.iterdir()) / 1e6:.1f} MB")


def take_over_parts(work: Work, folder: Path, finished: bool) -> None:
    """Take over the parts in `folder`: as finished stages, or as the weights that their stages begin with."""
    if (folder / f"{VAE_PART}.safetensors").exists():
        name = "autoencoder" if finished else f"autoencoder{BEGUN}"
        work.take_over(name, autoencoder_weights(read_part(folder, VAE_PART)))
    if (folder / "tiny_sd15.safetensors").exists():
        weights = text_to_latent_weights(read_part(folder, "tiny_sd15"), read_part(folder, TEXT_PART))
        work.take_over("tiny_sd15" if finished else f"tiny_sd15{HALF}", weights)


def autoencoder_weights(part: State) -> State:
    """The inverse of `vae_part`, in float32."""
    state = {}
    for key, value in part.items():
        if key.startswith("taesd_"):
            side, layer, rest = key.removeprefix("taesd_").split(".", 2)
            state[f"{side}.layers.{int(layer) - (side == 'decoder')}.{rest}"] = value.float()
    return state


def text_to_latent_weights(unet: State, text: State) -> State:
    """The inverse of `unet_part` and `text_part`, in float32."""
    names = comfy.utils.unet_to_diffusers(UNET_SHAPE)
    state = {f"unet.{key}": unet[UNET + name].float() for key, name in names.items() if UNET + name in unet}
    prefix = "transformer.text_model."
    return state | {
        f"text_encoder.{key.removeprefix(prefix)}": value.float() for key, value in text.items() if key != TOKEN_IDS
    }


def save_part(state: State, path: Path) -> None:
    """Save in fp16; token ids in int32."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({key: _stored(value) for key, value in state.items()}, path)


def _stored(value: Tensor) -> Tensor:
    value = value.detach().cpu().contiguous()
    return value.half() if value.is_floating_point() else value.to(torch.int32)
