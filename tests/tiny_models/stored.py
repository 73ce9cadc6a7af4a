"""The stored parts of the miniatures, and the checkpoints that are joined from them for ComfyUI's stock loaders.

The autoencoder and the text encoder are stored once, whatever number of checkpoints has them.
"""

from __future__ import annotations

from pathlib import Path

import comfy.supported_models
from safetensors.torch import load_file
from torch import Tensor

from .loader.layouts import TOKEN_IDS

UNET, TEXT, VAE = "model.diffusion_model.", "cond_stage_model.", "first_stage_model."
FLUX_TEXT, FLUX_VAE = "text_encoders.clip_l.", "vae."
VAE_PART, WIDE_VAE_PART, TEXT_PART = "tiny_vae", "tiny_vae16", "tiny_text"
CHECKPOINTS = {
    "tiny_sd15": ("tiny_sd15", TEXT_PART, VAE_PART),
    "tiny_sd2_v": ("tiny_sd2_v", TEXT_PART, VAE_PART),
    "tiny_flux": ("tiny_flux", TEXT_PART, WIDE_VAE_PART),
    "tiny_flux_guided": ("tiny_flux", "tiny_flux_guided", TEXT_PART, WIDE_VAE_PART),
}
"""The parts of each."""
State = dict[str, Tensor]


def complete(folder: Path) -> list[str]:
    """The checkpoints that have all their parts in `folder`."""
    return [name for name, parts in CHECKPOINTS.items() if all(_file(folder, part).exists() for part in parts)]


def join(folder: Path, name: str) -> State:
    """Assemble the full checkpoint `name` from the parts in `folder`, for CheckpointLoaderSimple."""
    if name.startswith("tiny_flux"):
        network = {**read_part(folder, "tiny_flux"), **read_part(folder, name)}
        return (
            network
            | _named(FLUX_TEXT, read_part(folder, TEXT_PART))
            | _named(FLUX_VAE, read_part(folder, WIDE_VAE_PART))
        )
    network = read_part(folder, name) | _named(VAE, read_part(folder, VAE_PART))
    text = read_part(folder, TEXT_PART)
    if network[f"{UNET}middle_block.1.proj_in.weight"].ndim == 4:
        return network | _named(TEXT, text)
    # SD2: linear projections, OpenCLIP's names.
    token_ids = text.pop(TOKEN_IDS)
    saved = comfy.supported_models.SD20.process_clip_state_dict_for_saving
    return network | saved(None, _named("clip_h.", text)) | {f"{TEXT}model.{TOKEN_IDS}": token_ids}  # pyright: ignore


def read_part(folder: Path, name: str) -> State:
    return load_file(_file(folder, name))


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.safetensors"


def _named(prefix: str, state: State) -> State:
    return {prefix + key: value for key, value in state.items()}
