"""The photos of the demo, the help pages and the templates: still lifes that no benchmark uses.

    python tests/tiny_models/photos.py FOLDER [--size 256]

writes each as NAME.png, and where its edited solid is as "NAME mask.png".
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from PIL import Image  # noqa: E402
from world.edits import Edit, random_edit  # noqa: E402
from world.render import render  # noqa: E402
from world.truth import object_mask  # noqa: E402

FIRST_SEED = 20_000
"""The benchmarks' edits end long before it."""


def photos() -> dict[str, Edit]:
    """Name -> the scene, and the edit that shows what it is for."""
    ball = random_edit("color", FIRST_SEED + 5)
    return {
        "ball": replace(ball, target=ball.source.with_solid(color="blue")),
        "cone": random_edit("material", FIRST_SEED + 3),
        "cube": random_edit("shape", FIRST_SEED + 3),
        "cube and ball": random_edit("floor", FIRST_SEED + 4),
        "ball and cylinder": random_edit("style", FIRST_SEED + 3),
        "two cylinders": random_edit("object removed", FIRST_SEED + 4),
        "yellow cube": random_edit("object added", FIRST_SEED + 5),
        "red cylinder": random_edit("wall", FIRST_SEED + 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", type=int, default=256)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for name, edit in photos().items():
        Image.fromarray(render(edit.source, options.size, seed=edit.seed)).save(options.folder / f"{name}.png")
        mask = object_mask(edit.source, edit.solid or 0, options.size)
        Image.fromarray(mask).save(options.folder / f"{name} mask.png")


if __name__ == "__main__":
    main()
