"""The photos of the demo, the help pages, the templates and the tests: still lifes that no benchmark uses.

    python tests/tiny_models/photos.py FOLDER [--size 256] [NAME ...]

writes each as NAME.png, where its edited solid is as "NAME mask.png", and the table photos.csv, which scripts/batch.py takes.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tiny_models.world.edits import Edit, random_edit
from tiny_models.world.render import render
from tiny_models.world.truth import object_mask

FIRST_SEED = 20_000
"""The benchmarks' edits end long before it."""
BALL = random_edit("color", FIRST_SEED + 5)
PHOTOS: Mapping[str, Edit] = {
    "ball": replace(BALL, target=BALL.source.with_solid(color="blue")),
    "cone": random_edit("material", FIRST_SEED + 3),
    "cube": random_edit("shape", FIRST_SEED + 3),
    "cube and ball": random_edit("floor", FIRST_SEED + 4),
    "ball and cylinder": random_edit("style", FIRST_SEED + 3),
    "two cylinders": random_edit("object removed", FIRST_SEED + 4),
    "yellow cube": random_edit("object added", FIRST_SEED + 5),
    "red cylinder": random_edit("wall", FIRST_SEED + 3),
}
"""Name -> the scene, and the edit that shows what it is for."""


def photo(name: str, size: int = 256) -> np.ndarray:
    """uint8 [size, size, 3]."""
    edit = PHOTOS[name]
    return render(edit.source, size, seed=edit.seed)


def mask(name: str, size: int = 256) -> np.ndarray:
    """Where the edited solid is, will be if it is added, or where the first one is; bool [size, size]."""
    edit = PHOTOS[name]
    return object_mask(edit.target if edit.kind == "object added" else edit.source, edit.solid or 0, size)


def write(folder: Path, names: Sequence[str] = tuple(PHOTOS), size: int = 256) -> None:
    """Write the photos and their masks as PNG files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.fromarray(photo(name, size)).save(folder / f"{name}.png")
        Image.fromarray(mask(name, size)).save(folder / f"{name} mask.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", metavar="NAME", default=list(PHOTOS))
    parser.add_argument("--size", type=int, default=256)
    options = parser.parse_args()
    if unknown := set(options.names) - set(PHOTOS):
        parser.error(f"no photo {', '.join(sorted(unknown))}; there are: {', '.join(PHOTOS)}")
    write(options.folder, options.names, options.size)
    with (options.folder / "photos.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(("image", "before", "after"))
        table.writerows((f"{name}.png", PHOTOS[name].before, PHOTOS[name].after) for name in options.names)


if __name__ == "__main__":
    main()
