"""Checkpoint files of further layouts for the tests: the trained miniature, with random weights where it has none to give.

.dev/venv/bin/python tests/tiny_sd/layout_files.py FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

HERE = Path(__file__).resolve().parent
UNET = "model.diffusion_model."
FIRST_CONVOLUTION = f"{UNET}input_blocks.0.0.weight"
UNET_WIDTH, TIME_WIDTH, NOISE_LEVELS = 64, 256, 1000
State = dict[str, torch.Tensor]


def write_all(folder: Path) -> None:
    """checkpoints/ below `folder`, one file a layout."""
    for name, make in (
        ("checkpoints/tiny_inpainting", inpainting),
        ("checkpoints/tiny_depth", depth),
        ("checkpoints/tiny_x4", x4_upscaler),
    ):
        path = folder / f"{name}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({key: value.contiguous() for key, value in make().items()}, path)


def inpainting() -> State:
    """SD1.5's nine-channel inpainting layout."""
    return _widened(load_file(HERE / "tiny_sd15.safetensors"), 9)


def depth() -> State:
    """SD2's depth layout: five channels."""
    return _widened(load_file(HERE / "tiny_sd2_v.safetensors"), 5)


def x4_upscaler() -> State:
    """SD2's x4 upscaler: seven channels, an embedding of the noise level, cross-attention only at the first level."""
    state = _widened(load_file(HERE / "tiny_sd2_v.safetensors"), 7)
    state[f"{UNET}label_emb.weight"] = _random(NOISE_LEVELS, TIME_WIDTH)
    for key in list(state):
        if key.startswith(UNET) and key.endswith(("attn1.to_k.weight", "attn1.to_v.weight")):
            across = state[key.replace("attn1", "attn2")]
            if across.shape[0] == UNET_WIDTH:
                state[key] = across.clone()
    return state


def _widened(state: State, channels: int) -> State:
    """The UNet's first convolution takes further channels, with small random weights."""
    first = state[FIRST_CONVOLUTION]
    further = _random(first.shape[0], channels - first.shape[1], *first.shape[2:])
    return {**state, FIRST_CONVOLUTION: torch.cat([first, further.to(first)], dim=1)}


def _random(*shape: int) -> torch.Tensor:
    return (torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))) * 0.05).half()


if __name__ == "__main__":
    write_all(Path(sys.argv[1]))
