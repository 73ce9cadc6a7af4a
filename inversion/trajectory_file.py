"""A .safetensors file that holds a whole Trajectory: tensors, and JSON metadata with a format version. No pickle."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, BinaryIO

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from .facts import InversionFacts, ModelFacts
from .new_file import write_new_file
from .result import Asks
from .trajectory import NullEmbeddings, Trajectory
from .trajectory_checks import LONGEST_TEXT, problem_of

FORMAT = "retrace.trajectory"
VERSION = 4
READABLE = ("3", "4")
"""Older versions lack what was added since: 3 is from before flows (a noise scale) and the aligned way back."""

NULL_TEXT, ASKS = "null_text.", "asks."
TENSORS = (
    {"latents", "sigmas", "residuals", "sigma_table", "pairs", "noise_maps"}
    | {NULL_TEXT + name for name in ("embeddings", "pooled", "residuals")}
    | {ASKS + name for name in ("offsets", "levels", "corrections")}
)
METADATA = {"format", "version", "model", "inversion", "null_text_cfg", "null_text_settings"}
# A trajectory's header has about a thousand bytes; parsing takes many times the header's length in memory.
MAX_HEADER = 2**20
LENGTH_BYTES = 8


class _ForeignFileError(ValueError):
    """The file is of another kind or version; the message is complete except for the file's name."""


class _DamagedError(ValueError):
    """The file has been cut, or something in it is not as `save_trajectory` writes it; the message is a short clause."""


def save_trajectory(trajectory: Trajectory, folder: Path, names: Iterable[str]) -> Path:
    """Write the file to `folder` under the first of `names` that is free, completely or not at all, and return its path.

    Raises:
        OSError: see `write_new_file`.
    """
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
    if trajectory.asks is not None:
        tensors |= {ASKS + name: tensor for name, tensor in vars(trajectory.asks).items()}
    present = {name: tensor.contiguous() for name, tensor in tensors.items() if tensor is not None}
    return write_new_file(folder, names, save(present, metadata))


def load_trajectory(path: Path) -> Trajectory:
    """Read a file written by `save_trajectory` into memory; later changes to the file have no effect.

    Raises:
        ValueError: naming the file, if it is truncated, is not a trajectory, has another version, contains anything that a
            trajectory does not, or has tensors or facts that do not fit together.
    """
    try:
        with path.open("rb") as file:
            trajectory = _read(file)
    except _ForeignFileError as error:
        raise ValueError(f"{path.name} {error}") from error
    except MemoryError as error:
        raise ValueError(
            f"{path.name} needs more memory than is free; free some, or save a trajectory of a smaller image or fewer steps."
        ) from error
    except (
        SafetensorError,
        OSError,
        LookupError,
        TypeError,
        AttributeError,
        ValueError,
        AssertionError,
        RecursionError,
    ) as error:
        raise ValueError(
            f"{path.name} is damaged or incomplete ({_reason(error):.{LONGEST_TEXT}}); save the trajectory again."
        ) from error
    problem = problem_of(trajectory)
    if problem:
        raise ValueError(f"{path.name} is not a usable trajectory: {problem}; save it again.")
    return trajectory


def _reason(error: Exception) -> str:
    """What is wrong with a file in words for its owner; what a library says of it stays in the traceback."""
    if isinstance(error, _DamagedError):
        return str(error)
    if isinstance(error, OSError):
        return str(error.strerror)
    if isinstance(error, LookupError):
        return "a part of it is missing"
    return "its tensors cannot be read" if isinstance(error, SafetensorError) else "its header cannot be read"


def _read(file: BinaryIO) -> Trajectory:
    length = file.read(LENGTH_BYTES)
    header = _header(file, int.from_bytes(length, "little"))
    described = json.loads(header)
    metadata = _checked_metadata(described)
    _require_size(file, described)
    # Not memory-mapped: if another program truncated a mapped file, this process would be killed.
    tensors = load(length + header + file.read())
    return Trajectory(
        tensors["latents"],
        tensors["sigmas"],
        tensors["residuals"],
        ModelFacts(sigma_table=tensors["sigma_table"], **_facts(ModelFacts, metadata["model"])),
        InversionFacts(**_facts(InversionFacts, metadata["inversion"])),
        tensors.get("pairs"),
        tensors.get("noise_maps"),
        _null_text(tensors, metadata),
        _asks(tensors),
    )


def _header(file: BinaryIO, length: int) -> bytes:
    if length > MAX_HEADER:
        raise _ForeignFileError(
            f"is damaged or incomplete, or not a Retrace trajectory: its header has {length} bytes, a trajectory's at most "
            f"{MAX_HEADER} bytes; choose the file of a saved trajectory."
        )
    return file.read(length)


def _checked_metadata(header: dict[str, Any]) -> dict[str, str]:
    metadata = header.pop("__metadata__", {})
    if metadata.get("format") != FORMAT:
        raise _ForeignFileError("is a safetensors file but not a Retrace trajectory; choose the file of a saved one.")
    if metadata.get("version") not in READABLE:
        raise _ForeignFileError(
            f"has format version {metadata.get('version')!s:.20}, this pack reads {' and '.join(READABLE)}; "
            "update Retrace, or save the trajectory again."
        )
    unknown = [*(header.keys() - TENSORS), *(metadata.keys() - METADATA)]
    if unknown:
        raise _ForeignFileError(
            f"is not a usable trajectory: it holds {len(unknown)} unknown entries "
            f"({', '.join(sorted(unknown)):.{LONGEST_TEXT}}); save it again."
        )
    return metadata


def _require_size(file: BinaryIO, described: dict[str, Any]) -> None:
    """Raise unless the tensors end where the file does, before they are read: what follows them may be a terabyte."""
    expected = file.tell() + max((entry["data_offsets"][1] for entry in described.values()), default=0)
    if (size := os.fstat(file.fileno()).st_size) != expected:
        raise _DamagedError(f"it has {size} bytes, but its header describes {expected}")


def _facts(kind: type[ModelFacts | InversionFacts], text: str) -> dict[str, Any]:
    facts = json.loads(text)
    if unknown := facts.keys() - {field.name for field in fields(kind)}:
        raise _DamagedError(f"it holds unknown facts, {', '.join(sorted(unknown))}")
    return facts


def _asks(tensors: dict[str, Tensor]) -> Asks | None:
    if ASKS + "offsets" not in tensors:
        return None
    return Asks(tensors[ASKS + "offsets"], tensors[ASKS + "levels"], tensors.get(ASKS + "corrections"))


def _null_text(tensors: dict[str, Tensor], metadata: dict[str, str]) -> NullEmbeddings | None:
    if "null_text_cfg" not in metadata:
        return None
    settings = json.loads(metadata["null_text_settings"])
    if not isinstance(settings, list):
        raise _DamagedError("its null_text_settings are not a list")
    return NullEmbeddings(
        tensors[NULL_TEXT + "embeddings"],
        tensors.get(NULL_TEXT + "pooled"),
        tensors.get(NULL_TEXT + "residuals"),
        json.loads(metadata["null_text_cfg"]),
        tuple(settings),
    )
