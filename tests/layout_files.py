"""Checkpoint files of further layouts: a trained miniature, with small random weights where it has none to give.

ComfyUI loads the upscaler's with tests/server/upscaler_pack, and the others as it loads the miniatures.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

MINIATURES = Path(__file__).resolve().parent.parent / ".dev" / "miniatures"
UNET = "model.diffusion_model."
FIRST_CONVOLUTION = f"{UNET}input_blocks.0.0.weight"
NOISE_LEVELS = 1000
State = dict[str, torch.Tensor]


def write_all(folder: Path) -> None:
    """Write tiny_inpainting, tiny_depth and tiny_x4 as .safetensors files."""
    for name, make in (("tiny_inpainting", inpainting), ("tiny_depth", depth), ("tiny_x4", x4_upscaler)):
        save_file({key: value.contiguous() for key, value in make().items()}, folder / f"{name}.safetensors")


def inpainting() -> State:
    """SD1.5's nine-channel inpainting layout."""
    return _widened("tiny_sd15", 9)


def depth() -> State:
    """SD2's depth layout: five channels."""
    return _widened("tiny_sd2_v", 5)


def x4_upscaler() -> State:
    """SD2's x4 upscaler: seven channels, an embedding of the noise level, self-attention only in the middle."""
    state = _widened("tiny_sd2_v", 7)
    state[f"{UNET}label_emb.weight"] = _random(NOISE_LEVELS, state[f"{UNET}time_embed.2.weight"].shape[0])
    for key in state:
        if key.startswith(UNET) and "middle" not in key and key.endswith(("attn1.to_k.weight", "attn1.to_v.weight")):
            state[key] = state[key.replace("attn1", "attn2")].clone()
    return state


def _widened(name: str, channels: int) -> State:
    """A trained miniature whose first convolution takes further channels, with small random weights."""
    state = load_file(MINIATURES / f"{name}.safetensors")
    first = state[FIRST_CONVOLUTION]
    further = _random(first.shape[0], channels - first.shape[1], *first.shape[2:])
    return {**state, FIRST_CONVOLUTION: torch.cat([first, further.to(first)], dim=1)}


def _random(*shape: int) -> torch.Tensor:
    return (torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))) * 0.05).half()
