"""The files of a Flux, in the miniature's layout and with random weights, as people have them: for the stock loaders."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from tiny_models import autoencoder, checkpoint, flux
from tiny_models.diffusion import TextToLatent
from tiny_models.latents import Latents
from tiny_models.vocabulary import vocabulary
from torch import Tensor

SCALE = Latents(torch.zeros(0), [], mean=0.1, deviation=1.3, emphasis=torch.zeros(0))
LORA_RANK = 2


def write_random_flux(folder: Path, gain: float = 1.0) -> None:
    """Write tiny_flux, tiny_flux_guided, tiny_text and tiny_vae16 as .safetensors files; velocities are times `gain`."""
    words = vocabulary()
    torch.manual_seed(0)
    base = flux.FlowTransformer(guided=False)
    with torch.no_grad():
        base.transformer.proj_out.weight.mul_(gain)
    parts = {
        "tiny_flux": checkpoint.flux_part(base),
        "tiny_flux_guided": checkpoint.flux_part(flux.guided_from(base)),
        "tiny_text": checkpoint.text_part(TextToLatent("tiny_sd15", len(words.token_ids)), words),
        "tiny_vae16": checkpoint.vae_part(autoencoder.build(flux.CHANNELS), SCALE, checkpoint.FLUX_FORMAT),
    }
    for name, state in parts.items():
        checkpoint.save_part(state, folder / f"{name}.safetensors")


def write_random_lora(path: Path) -> None:
    """Write a LoRA for every image attention of its double blocks."""
    generator = torch.Generator().manual_seed(0)
    state: dict[str, Tensor] = {}
    for block in range(2):
        key = f"diffusion_model.double_blocks.{block}.img_attn.proj"
        state[f"{key}.lora_A.weight"] = torch.randn(LORA_RANK, 128, generator=generator)
        state[f"{key}.lora_B.weight"] = torch.randn(128, LORA_RANK, generator=generator)
    save_file(state, path)
