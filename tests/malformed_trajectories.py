"""Malformed trajectory files, for a test of a few of them and for `dev.py bench fuzz`: whole files of every kind, then changed.

A change knows the format (a fact of another type, another shape, a NaN, a length that lies) or knows nothing (bytes written over).
"""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from hypothesis import strategies as st
from safetensors.torch import load, save
from whole_trajectories import whole_files

LENGTH = struct.Struct("<Q")
HOLE = 2**40


@dataclass
class Content:
    """What a file holds: tensors by name, and the pack's facts as JSON values, not yet as text."""

    tensors: dict[str, torch.Tensor]
    facts: dict[str, Any]

    def serialized(self) -> bytearray:
        """As a safetensors file, whose own header says the truth."""
        texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in self.facts.items()}
        tensors = {name: tensor.clone().contiguous() for name, tensor in self.tensors.items()}
        return bytearray(
            save(tensors, {name: text.encode("utf-8", "replace").decode() for name, text in texts.items()})
        )


def content_of(whole: bytes) -> Content:
    """What a whole file holds, to be changed."""
    facts = json.loads(_header_of(whole))["__metadata__"]
    return Content(
        load(whole), {**facts, **{name: json.loads(facts[name]) for name in facts.keys() - {"format", "version"}}}
    )


def _header_of(whole: bytes) -> bytes:
    return whole[LENGTH.size : LENGTH.size + LENGTH.unpack_from(whole)[0]]


# --- a file that tells the truth of what no inversion makes --------------------------------------------------------

NUMBERS = st.sampled_from(
    [0, -1, 1, 2, 3, 0.5, -0.0, 5e-324, 1e30, math.nan, math.inf, 2**31, 2**63, 10**400, True, 3.0, 1e9, 1e-9]
)
TEXTS = st.sampled_from(
    [
        "",
        "flow",
        "v_prediction",
        "given",
        "first",
        "o-belm",
        "edict",
        "edit-friendly",
        "fireflow",
        "dna",
        "\0",
        "n" * 2000,
    ]
)
DEPTH = 900
VALUES = st.one_of(
    NUMBERS,
    TEXTS,
    st.builds(lambda: json.loads("[" * DEPTH + "]" * DEPTH)),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=6,
    ),
)
"""JSON values, those among them that a fact is not made for."""
TENSORS = (
    "latents",
    "sigmas",
    "residuals",
    "sigma_table",
    "pairs",
    "noise_maps",
    "asks.offsets",
    "asks.levels",
    "evil",
)
DTYPES = [torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool, torch.float8_e5m2]


def _places(value: Any, depth: int = 0) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) in nested JSON."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys if depth < 6 else ():
        yield value, key
        yield from _places(value[key], depth + 1)


def _other_fact(draw: st.DrawFn, content: Content) -> None:
    """A fact becomes another, goes, or gets a neighbor."""
    places = list(_places(content.facts))
    if not places:
        return
    container, key = draw(st.sampled_from(places))
    action = draw(st.sampled_from(["replace", "replace", "replace", "remove", "add"]))
    if action == "replace":
        same_type = NUMBERS if isinstance(container[key], (int, float)) else TEXTS
        container[key] = draw(same_type | VALUES)
    elif action == "remove":
        del container[key]
    elif isinstance(container, dict):
        container[draw(st.sampled_from(["null_text_cfg", "guidance", "order", "evil"]))] = draw(VALUES)
    else:
        container.append(draw(VALUES))


def _other_tensor(draw: st.DrawFn, content: Content) -> None:
    """A tensor goes, changes its name, its shape or its dtype, or is copied under another name."""
    if not content.tensors:
        return
    name = draw(st.sampled_from(sorted(content.tensors)))
    tensor = content.tensors.pop(name)
    action = draw(st.sampled_from(["remove", "rename", "copy", "dtype", "shape", "shorter", "axes"]))
    if action in ("rename", "copy"):
        content.tensors[draw(st.sampled_from(TENSORS))] = tensor
    if action == "dtype":
        tensor = tensor.to(draw(st.sampled_from(DTYPES)))
    if action == "shape":
        flat, more = tensor.numel(), tuple(tensor.shape)
        tensor = tensor.reshape(draw(st.sampled_from([(flat,), (1, flat), (flat, 1), (1, 1, *more), (*more, 1)])))
    if action == "shorter":
        tensor = tensor[: draw(st.integers(0, 1))] if tensor.ndim else tensor
    if action == "axes" and tensor.ndim:
        tensor = tensor.transpose(0, draw(st.integers(0, tensor.ndim - 1)))
    if action not in ("remove", "rename"):
        content.tensors[name] = tensor


def _other_number(draw: st.DrawFn, content: Content) -> None:
    """An element of a tensor becomes one that no inversion makes."""
    tensors = {
        name: tensor
        for name, tensor in content.tensors.items()
        if tensor.numel() and tensor.dtype in (torch.float32, torch.float64)
    }
    if tensors:
        name = draw(st.sampled_from(sorted(tensors)))
        changed = tensors[name].contiguous().clone()
        at = draw(st.integers(0, changed.numel() - 1))
        changed.view(-1)[at] = draw(st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -1.0, 3e38, 1e-45]))
        content.tensors[name] = changed


# --- a file that does not ------------------------------------------------------------------------------------------


def _other_header(draw: st.DrawFn, whole: bytearray) -> None:
    """The header says something else of a tensor: a dtype, a shape, a place (which may be its neighbor's), or no such thing."""
    text = _header_of(whole)
    header = json.loads(text)
    entries = [entry for name, entry in header.items() if name != "__metadata__"]
    size = len(whole) - LENGTH.size - len(text)
    sizes = st.integers(0, 9) | st.sampled_from([-1, 2**31, 2**62, 2**64])
    said = {
        "dtype": st.sampled_from(["F64", "F32", "F16", "I64", "U8", "BOOL", "C64", "F6_E2M3", "F99"]),
        "shape": st.lists(sizes, max_size=7),
        "data_offsets": st.lists(st.integers(0, size + 8) | sizes, min_size=2, max_size=2),
    }
    name = draw(st.sampled_from(sorted(said)))
    container: dict[str, Any] = draw(st.sampled_from([*entries, header]))
    container[name] = draw(said[name] | VALUES)
    changed = json.dumps(header).encode()
    whole[: LENGTH.size + len(text)] = LENGTH.pack(len(changed)) + changed


def _other_length(draw: st.DrawFn, whole: bytearray) -> None:
    """The file, or its header, is shorter or longer than it says."""
    action = draw(st.sampled_from(["cut", "append", "header"]))
    if action == "cut":
        del whole[draw(st.integers(0, len(whole))) :]
    elif action == "append":
        whole += draw(st.binary(max_size=20))
    else:
        whole[: LENGTH.size] = LENGTH.pack(draw(st.integers(0, 2000) | st.sampled_from([2**20, 2**21, 2**63])))


def _other_bytes(draw: st.DrawFn, whole: bytearray) -> None:
    """Bytes exchanged, cut out or put in, without knowing the format; most where the header is."""
    start = draw(st.one_of(st.integers(0, 1500), st.integers(0, len(whole))))
    piece = draw(
        st.one_of(st.binary(max_size=20), st.sampled_from([b"[" * 2000, b"9" * 5000, b"\xff" * 8, b"{", b'"']))
    )
    whole[start : start + draw(st.integers(0, 20))] = piece


@dataclass(frozen=True)
class File:
    """The bytes of a file and how many zeros follow them; a hole of zeros takes no room on the disk."""

    content: bytes
    hole: int

    def write(self, path: Path) -> None:
        path.write_bytes(self.content)
        os.truncate(path, len(self.content) + self.hole)


@st.composite
def malformed_files(draw: st.DrawFn) -> File:
    """A file of any kind with up to three changes; some change nothing that matters, and the file is a whole one after all."""
    content = content_of(draw(st.sampled_from(whole_files())))
    for change in draw(st.lists(st.sampled_from([_other_fact, _other_tensor, _other_number]), max_size=2)):
        change(draw, content)
    whole = content.serialized()
    if draw(st.integers(0, 2)) == 0:
        draw(st.sampled_from([_other_header, _other_length, _other_bytes]))(draw, whole)
    return File(bytes(whole), draw(st.sampled_from([0] * 50 + [1, HOLE])))
