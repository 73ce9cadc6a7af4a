"""The world to look at: `python -m world.contact_sheet FILE.png` beside this folder.

Twenty random scenes, then an edit of every kind, the source above the target, from one seed.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from .edits import KINDS, random_edit
from .render import render
from .scene import FLOORS, random_scene
from .styles import depicted

COLUMNS, ROWS = 5, 4


def contact_sheet(seed: int, size: int = 256) -> np.ndarray:
    """Eight rows of five pictures, uint8 [8 size, 5 size, 3]; each column of random scenes has its own floor."""
    rows = []
    for row in range(ROWS):
        rngs = [np.random.default_rng((seed, row, column)) for column in range(COLUMNS)]
        scenes = [replace(random_scene(rng), floor=floor) for rng, floor in zip(rngs, FLOORS, strict=True)]
        rows.append([render(scene, size, seed=seed) for scene in scenes])
    edits = [random_edit(kind, seed) for kind in KINDS]
    for start in range(0, len(edits), COLUMNS):
        part = edits[start : start + COLUMNS]
        rows.append([depicted(edit.source, size, seed=seed) for edit in part])
        rows.append([depicted(edit.target, size, seed=seed) for edit in part])
    return np.vstack([np.hstack(row) for row in rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=256)
    given = parser.parse_args()
    cv2.imwrite(str(given.file), cv2.cvtColor(contact_sheet(given.seed, given.size), cv2.COLOR_RGB2BGR))


if __name__ == "__main__":
    main()
