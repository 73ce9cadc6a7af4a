"""Every template as the frontend would queue it, on the miniatures: small pictures and a tenth of the steps."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from _every_node import SIDE, SOURCE, TARGET, miniature
from _graphs import Prompt
from _host import JOINED, LOADER, PARTS, ROOT

sys.path.insert(0, str(ROOT / "demo"))
import batch_package  # noqa: F401  (makes batch/ importable)

from batch.stored_graph import api_prompt

OTHER_CHECKPOINT = "tiny_sd2_v.safetensors"
WITH_OTHER_CHECKPOINT = ("2", "7")
FLUX = {
    "diffusion_models/flux1-dev.safetensors": "tiny_flux_guided.safetensors",
    "text_encoders/clip_l.safetensors": "tiny_text.safetensors",
    "text_encoders/t5xxl_fp16.safetensors": "tiny_text.safetensors",
    "vae/ae.safetensors": "tiny_vae16.safetensors",
}
PACKS = {"retrace": ROOT, "tiny_models": LOADER}


def model_files(folder: Path) -> dict[str, Path]:
    """Path below models/ -> file, for the prompts of `small_templates`; a Flux of random weights is written to the folder."""
    from random_flux import write_random_flux

    write_random_flux(folder, gain=30.0)
    checkpoints = {f"checkpoints/{path.name}": path for path in JOINED.glob("tiny_sd*.safetensors")}
    hints = {"controlnet/tiny_controlnet.safetensors": PARTS / "tiny_controlnet.safetensors"}
    return checkpoints | hints | {place: folder / name for place, name in FLUX.items()}


def small_templates(object_info: Mapping[str, Any]) -> dict[str, Prompt]:
    """Name -> prompt: each template, and some of Stable Diffusion once more with a v-prediction checkpoint."""
    paths = sorted((ROOT / "workflows").glob("*.json"))
    prompts = {path.stem: _small(path, object_info) for path in paths}
    for path in paths:
        if path.stem.startswith(WITH_OTHER_CHECKPOINT):
            prompts[f"{path.stem}, v"] = _small(path, object_info, OTHER_CHECKPOINT)
    return prompts


def _small(path: Path, object_info: Mapping[str, Any], checkpoint: str | None = None) -> Prompt:
    graph = json.loads(path.read_text(encoding="utf-8"))
    prompt = miniature(path.stem, api_prompt(graph, object_info))
    for node in prompt.values():
        inputs = node["inputs"]
        if node["class_type"] == "CheckpointLoaderSimple" and checkpoint is not None:
            inputs["ckpt_name"] = checkpoint
        if node["class_type"] == "RetraceEditImage":
            inputs |= {"before": SOURCE, "after": TARGET, "working_size": SIDE}
        for step in ("steps", "start_step", "start_at_step"):
            if isinstance(inputs.get(step), int) and node["class_type"] != "RetraceMasaCtrl":
                inputs[step] = -(-inputs[step] // 2)
        if node["_meta"]["title"] == "Start step":
            inputs["value"] = -(-inputs["value"] // 2)
    return prompt
