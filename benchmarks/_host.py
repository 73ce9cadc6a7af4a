"""Shared by the benchmarks: the pack and ComfyUI in this process, the miniature checkpoints, held-out scenes."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
TINY = ROOT / "tests" / "tiny_sd"
CHECKPOINTS = ("tiny_sd15", "tiny_sd2_v")


def prepare() -> ModuleType:
    """Import ComfyUI (`COMFYUI_PATH`, on the CPU if there is no GPU) and the pack as `retrace_pack`; returns the pack."""
    # tests/ for node_call, which calls a node by keyword.
    for folder in (os.environ["COMFYUI_PATH"], str(TINY), str(ROOT / "tests")):
        sys.path.insert(0, folder)
    from comfy.cli_args import args

    args.cpu = not torch.cuda.is_available()
    # ComfyUI's default on a GPU; its default on the CPU makes the miniature 50 % slower.
    args.use_pytorch_cross_attention = True
    spec = importlib.util.spec_from_file_location(
        "retrace_pack", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
    )
    assert spec is not None and spec.loader is not None
    pack = importlib.util.module_from_spec(spec)
    sys.modules["retrace_pack"] = pack
    spec.loader.exec_module(pack)
    return pack


def load_tiny(name: str) -> tuple[Any, Any, Any]:
    """(MODEL, CLIP, VAE) of a miniature checkpoint, from the stock loader."""
    import comfy.sd
    import layouts

    layouts.register()
    return comfy.sd.load_checkpoint_guess_config(str(TINY / f"{name}.safetensors"))[:3]


def held_out_scenes(count: int, seed: int) -> tuple[list[Any], Tensor]:
    """Scenes whose captions were held out of the training, and their pictures as an IMAGE [B, 128, 128, 3]."""
    import scenes

    rng = np.random.default_rng(seed)
    chosen = [scenes.random_scene(rng, held_out=True) for _ in range(count)]
    pictures = np.stack([scenes.render(scene) for scene in chosen])
    return chosen, torch.from_numpy(pictures).float() / 255


def encode_texts(clip: Any, texts: list[str]) -> list[list[Any]]:  # noqa: ANN401
    """One CONDITIONING whose rows are the texts."""
    rows = [clip.encode_from_tokens_scheduled(clip.tokenize(text))[0][0] for text in texts]
    return [[torch.cat(rows), {}]]


def environment() -> str:
    """One line on what the figures were measured with."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    return f"torch {torch.__version__}, {device}"
