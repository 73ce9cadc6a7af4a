"""One .safetensors file holds a whole Trajectory: tensors, and JSON metadata with a format version. No pickle."""

from __future__ import annotations

import json
import math
import os
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import get_args

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..samplers.prediction import Prediction
from ..samplers.schedule import Spacing, Terminal
from .trajectory import InversionFacts, Kind, ModelFacts, NullEmbeddings, Trajectory

FORMAT = "retrace.trajectory"
VERSION = 3
TENSORS = ("latents", "sigmas", "residuals", "sigma_table")
NULL_TEXT = "null_text."

# Which methods continue what is not plain, each with the settings that it cannot do without.
CONTINUING: dict[Kind, dict[str, set[str]]] = {
    "pair": {"edict": {"mixing"}, "bdia": {"gamma"}, "o-belm": set()},
    "noise maps": {"edit-friendly": {"order", "eta"}},
}


def save_trajectory(trajectory: Trajectory, path: Path) -> None:
    """Write the file at once or not at all: it is written beside its place under another name, then moved there."""
    model = asdict(trajectory.model)
    tensors = {
        "latents": trajectory.latents,
        "sigmas": trajectory.sigmas,
        "residuals": trajectory.residuals,
        "sigma_table": model.pop("sigma_table"),
        "pairs": trajectory.pairs,
        "noise_maps": trajectory.noise_maps,
    }
    metadata = {
        "format": FORMAT,
        "version": str(VERSION),
        "model": json.dumps(model),
        "inversion": json.dumps(asdict(trajectory.inversion)),
    }
    if trajectory.null_text is not None:
        null_text = asdict(trajectory.null_text)
        metadata |= {f"null_text_{name}": json.dumps(null_text.pop(name)) for name in ("cfg", "settings")}
        tensors |= {NULL_TEXT + name: tensor for name, tensor in null_text.items()}
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
    os.close(handle)
    try:
        present = {name: tensor.contiguous() for name, tensor in tensors.items() if tensor is not None}
        save_file(present, temporary, metadata)
        # mkstemp makes a file for its owner alone; an output is for whoever may read the folder.
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def load_trajectory(path: Path) -> Trajectory:
    """Read what `save_trajectory` wrote.

    Raises ValueError that names the file when it is truncated, is not a trajectory, has a newer version, or holds
    tensors that do not fit together.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            _require_format(metadata, path)
            tensors = {name: file.get_tensor(name) for name in {*TENSORS, *file.keys()}}
        model = json.loads(metadata["model"])
        trajectory = Trajectory(
            tensors["latents"],
            tensors["sigmas"],
            tensors["residuals"],
            ModelFacts(sigma_table=tensors["sigma_table"], **model),
            InversionFacts(**json.loads(metadata["inversion"])),
            tensors.get("pairs"),
            tensors.get("noise_maps"),
            _null_text(tensors, metadata),
        )
    except (SafetensorError, OSError, KeyError, TypeError, RecursionError, json.JSONDecodeError) as error:
        raise ValueError(f"{path.name} is damaged or incomplete ({error}); save the trajectory again.") from error
    _require_consistent(trajectory, path)
    return trajectory


def _null_text(tensors: dict[str, Tensor], metadata: dict[str, str]) -> NullEmbeddings | None:
    if "null_text_cfg" not in metadata:
        return None
    return NullEmbeddings(
        tensors[NULL_TEXT + "embeddings"],
        tensors.get(NULL_TEXT + "pooled"),
        tensors.get(NULL_TEXT + "residuals"),
        json.loads(metadata["null_text_cfg"]),
        tuple(json.loads(metadata["null_text_settings"])),
    )


def _require_format(metadata: dict[str, str], path: Path) -> None:
    if metadata.get("format") != FORMAT:
        raise ValueError(
            f"{path.name} is a safetensors file but not a Retrace trajectory; choose one that Save Trajectory wrote."
        )
    if metadata.get("version") != str(VERSION):
        raise ValueError(
            f"{path.name} has format version {metadata.get('version')}, this pack reads {VERSION}; "
            "update Retrace, or save the trajectory again."
        )


def _require_consistent(trajectory: Trajectory, path: Path) -> None:
    latents, sigmas, table = trajectory.latents, trajectory.sigmas, trajectory.model.sigma_table
    problem = None
    if latents.ndim != 5 or sigmas.shape != latents.shape[:1] or len(sigmas) < 2:
        problem = f"latents {tuple(latents.shape)} and sigmas {tuple(sigmas.shape)} do not fit together"
    elif trajectory.inversion.steps != trajectory.steps or trajectory.residuals.shape != (trajectory.steps,):
        problem = f"it should have {trajectory.inversion.steps} steps and as many residuals"
    elif any(tensor.dtype != torch.float32 for tensor in (latents, sigmas, trajectory.residuals, table)):
        problem = "its tensors are not float32"
    elif not _ascends(sigmas) or table.ndim != 1 or len(table) < 2 or not _ascends(table):
        problem = "its sigmas do not ascend"
    elif not latents.numel() or not bool(torch.isfinite(latents).all() and torch.isfinite(trajectory.residuals).all()):
        problem = "a latent is missing, NaN or infinite"
    elif not _extras_fit(trajectory):
        problem = "its pairs, noise maps or null embeddings do not fit its steps and latents, or are not finite"
    elif not _are_named(trajectory):
        problem = "its facts are not what Save Trajectory writes"
    elif not _can_be_continued(trajectory):
        method, settings = trajectory.inversion.method, ", ".join(trajectory.inversion.settings) or "none"
        problem = f"its method {method!r} (settings: {settings}) cannot continue from its {trajectory.kind}"
    if problem:
        raise ValueError(f"{path.name} is not a usable trajectory: {problem}; save it again.")


def _extras_fit(trajectory: Trajectory) -> bool:
    latents, steps, null_text = trajectory.latents, trajectory.steps, trajectory.null_text
    expected = [
        (trajectory.pairs, torch.float64, (steps + 1, 2, *latents.shape[1:])),
        (trajectory.noise_maps, torch.float32, (steps, *latents.shape[1:])),
    ]
    if null_text is not None:
        embeddings, pooled, cfg = null_text.embeddings, null_text.pooled, null_text.cfg
        expected.append((null_text.residuals, torch.float32, (steps, *latents.shape[1:])))
        expected.append((embeddings, torch.float32, (steps, *embeddings.shape[1:])))
        if pooled is not None:
            expected.append((pooled, torch.float32, (1, pooled.numel())))
        if embeddings.ndim != 3 or latents.shape[1] != 1:
            return False
        if not isinstance(cfg, (int, float)) or not -math.inf < cfg < math.inf:
            return False
    return all(
        tensor is None
        or (
            tensor.dtype == dtype
            and tuple(tensor.shape) == shape
            and tensor.numel() > 0
            and bool(torch.isfinite(tensor).all())
        )
        for tensor, dtype, shape in expected
    )


def _are_named(trajectory: Trajectory) -> bool:
    model, inversion = trajectory.model, trajectory.inversion
    return (
        model.prediction in get_args(Prediction)
        and inversion.spacing in get_args(Spacing)
        and inversion.terminal in get_args(Terminal)
        and all(
            isinstance(text, str) for text in (model.latent_format, model.weights, inversion.method, inversion.prompts)
        )
        and all(isinstance(number, (int, float)) for number in (inversion.cfg, inversion.unet_evaluations))
        and isinstance(inversion.settings, dict)
        and all(isinstance(number, (int, float)) for number in inversion.settings.values())
        and all(-math.inf < number < math.inf for number in inversion.settings.values())
        and all(isinstance(name, str) for name in (trajectory.null_text.settings if trajectory.null_text else ()))
    )


def _can_be_continued(trajectory: Trajectory) -> bool:
    if trajectory.kind == "plain":
        return True
    needed = CONTINUING[trajectory.kind].get(trajectory.inversion.method)
    return needed is not None and needed <= trajectory.inversion.settings.keys()


def _ascends(sigmas: Tensor) -> bool:
    return bool(torch.isfinite(sigmas).all()) and bool((sigmas[1:] >= sigmas[:-1]).all()) and float(sigmas[0]) >= 0
