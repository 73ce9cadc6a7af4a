"""Edits of the still-life world in the form of PIE-Bench: 700 images of ten kinds, a mapping file, masks as runs.

python -m world.pie_set FOLDER [--count 700] [--size 512]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from .edits import KINDS, Edit, random_edit
from .render import render
from .styles import stylized
from .truth import SAME, object_mask

TYPES = {
    "0": (140, tuple(KINDS)),
    "1": (80, ("shape",)),
    "2": (80, ("object added",)),
    "3": (80, ("object removed",)),
    "4": (40, ("size",)),
    "5": (40, ("lamp",)),
    "6": (40, ("color",)),
    "7": (40, ("material",)),
    "8": (80, ("floor", "wall")),
    "9": (80, ("style",)),
}
"""PIE-Bench's type -> how many of 700, and our kinds of edit: random, object, added, deleted, content, pose, color, material,
background, style. Nothing here has a pose; the lamp moves instead.
"""


def pie_edits(count: int = 700) -> Iterator[tuple[str, Edit]]:
    """(Type, edit), `count` in all, in the shares of the types."""
    before = 0
    for kind, (share, kinds) in TYPES.items():
        start, end = (round(at * count / 700) for at in (before, before + share))
        for number in range(end - start):
            yield kind, random_edit(kinds[number % len(kinds)], 1000 * int(kind) + number)
        before += share


def write_pie_set(folder: Path, count: int = 700, size: int = 512, samples: int = 4) -> None:
    """Write mapping_file.json and annotation_images/ in `folder`."""
    entries = {}
    for number, (kind, edit) in enumerate(pie_edits(count)):
        source, mask = source_and_mask(edit, size, samples)
        name = f"{number:012}"
        path = folder / "annotation_images" / kind / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), cv2.cvtColor(source, cv2.COLOR_RGB2BGR))
        before, after = edit.words
        blended = (before.split() or after.split())[-1:] + after.split()[-1:]
        entries[name] = {
            "image_path": f"{kind}/{name}.png",
            "original_prompt": _marked(edit.before, before),
            "editing_prompt": _marked(edit.after, after),
            "editing_instruction": f"Change {before!r} to {after!r}",
            "editing_type_id": kind,
            "blended_word": " ".join(blended) if before and after else "",
            "mask": _runs(mask),
        }
    (folder / "mapping_file.json").write_text(json.dumps(entries), encoding="utf-8")


def source_and_mask(edit: Edit, size: int, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """The photograph, uint8 [size, size, 3], and where it may change, bool [size, size]: the objects, and all that differs."""
    scenes = edit.source, edit.target
    source, target = (stylized(render(scene, size, samples, edit.seed), scene.style) for scene in scenes)
    mask = np.abs(source.astype(np.int16) - target).max(-1) > SAME
    for scene in scenes:
        if edit.solid is not None and edit.solid < len(scene.solids):
            mask |= object_mask(scene, edit.solid, size, samples)
    return source, mask


def _marked(prompt: str, words: str) -> str:
    return prompt.replace(words, f"[{words}]", 1) if words else prompt


def _runs(mask: np.ndarray) -> list[int]:
    """Starts and lengths of the runs of True, row by row."""
    edges = np.flatnonzero(np.diff(mask.ravel().astype(np.int8), prepend=0, append=0))
    return [number for start, end in edges.reshape(-1, 2).tolist() for number in (start, end - start)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=700)
    parser.add_argument("--size", type=int, default=512)
    given = parser.parse_args()
    write_pie_set(given.folder, given.count, given.size)


if __name__ == "__main__":
    main()
