"""Shared by the benchmarks: the pack and ComfyUI in this process, where the miniatures are, and what a figure was measured with."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

ROOT = Path(__file__).resolve().parent.parent
PARTS = ROOT / "tests" / "tiny_models" / "weights"
JOINED = ROOT / ".dev" / "miniatures"
"""The checkpoints that dev.py joins from the parts."""
LOADER = ROOT / "tests" / "tiny_models" / "loader"
"""The pack that registers the miniatures' layouts."""

# tests/ for tiny_models, and for node_call, which calls a node by keyword.
sys.path.insert(0, str(ROOT / "tests"))


def prepare() -> ModuleType:
    """Import ComfyUI (`COMFYUI_PATH`, on the CPU if there is no GPU) and the pack as `retrace_pack`; returns the pack."""
    sys.path.insert(0, os.environ["COMFYUI_PATH"])
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


def encode_texts(clip: Any, texts: list[str]) -> list[list[Any]]:  # noqa: ANN401
    """One CONDITIONING whose rows are the texts."""
    rows = [clip.encode_from_tokens_scheduled(clip.tokenize(text))[0][0] for text in texts]
    return [[torch.cat(rows), {}]]


def environment() -> str:
    """One line on what the figures were measured with."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    return f"torch {torch.__version__}, {device}"
