"""PIE-Bench's mapping file (Ju et al. 2023, PnPInversion) as a table, and its masks.

    {"000000000000": {"image_path": ..., "original_prompt": "a [cat] on a sofa", "editing_prompt": "a [dog] on a sofa",
                      "editing_instruction": ..., "editing_type_id": "1", "blended_word": "cat dog", "mask": [start, length, ...]}}

Images lie in annotation_images/ beside the file.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

IMAGES = "annotation_images"
FACTOR = 2
"""The published settings double the attention to the blended word of the target."""


def read_entries(path: Path) -> dict[str, dict[str, Any]]:
    """The file's content. Raises ValueError if it is not a mapping file."""
    entries = json.loads(path.read_text("utf-8"))
    wanted = {"image_path", "original_prompt", "editing_prompt"}
    if not isinstance(entries, dict) or not all(
        isinstance(each, dict) and wanted <= set(each) for each in entries.values()
    ):
        raise ValueError(
            f"{path} is not a mapping file of PIE-Bench: its entries must have {', '.join(sorted(wanted))}."
        )
    return entries


def rows_of(entries: dict[str, dict[str, Any]]) -> list[dict[str, str]]:
    """Columns id, image, before, after, instruction, type, blend_words ("cat, dog") and reweight ("dog:2")."""
    return [_row(name, entry) for name, entry in entries.items()]


def _row(name: str, entry: dict[str, Any]) -> dict[str, str]:
    words = entry.get("blended_word", "").split()
    return {
        "id": name,
        "image": f"{IMAGES}/{entry['image_path']}",
        "before": without_brackets(entry["original_prompt"]),
        "after": without_brackets(entry["editing_prompt"]),
        "instruction": entry.get("editing_instruction", ""),
        "type": entry.get("editing_type_id", ""),
        "blend_words": ", ".join(dict.fromkeys(words)),
        "reweight": f"{words[1]}:{FACTOR}" if len(words) > 1 else "",
    }


def without_brackets(prompt: str) -> str:
    """A prompt without the marks around its differing words."""
    return prompt.replace("[", "").replace("]", "")


def decode_mask(runs: Sequence[int], height: int, width: int) -> np.ndarray:
    """Starts and lengths in row-major order as float32 [height, width]: 1 where the image may be edited.

    As published, a run that is too long is cut, and all four borders are 1.
    """
    mask = np.zeros(height * width, np.float32)
    for start, length in zip(runs[::2], runs[1::2], strict=True):
        mask[start : start + length] = 1
    mask = mask.reshape(height, width)
    mask[[0, -1]] = 1
    mask[:, [0, -1]] = 1
    return mask
