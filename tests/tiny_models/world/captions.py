"""Captions of scenes, in the words of a person, and the way back from a caption to its words."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from .scene import COLORS, FLOORS, MATERIALS, SHAPES, SIDES, SIZES, STYLES, WALLS, Scene, Solid

OPENINGS = {"photo": "a photo of", "pencil sketch": "a pencil sketch of", "watercolor": "a watercolor of"}
BEFORE_WALL = (", {} wall", ", {} wall", " in front of a {} wall", " with a {} wall behind")
SOLID = re.compile(rf"(?:({'|'.join(SIZES)}) )?({'|'.join(MATERIALS)}) ({'|'.join(COLORS)}) ({'|'.join(SHAPES)})")
WORDS = (
    *("a", "an", "photo", "of", "and", "on", "floor", "wall", "in", "front", "with", "behind", "lit", "from", "the", ","),
    *(word for style in STYLES for word in style.split()),
    *COLORS, *MATERIALS, *SHAPES, *SIZES, *FLOORS, *WALLS, *SIDES,
)  # fmt: skip


def caption(scene: Scene, rng: np.random.Generator | None = None, lamp: bool = False) -> str:
    """For example "a photo of a large striped red cylinder and a small shiny blue ball on a wooden floor, beige wall".

    `lamp` adds the side of the light. With a generator the wording varies: the wall's phrase, the light, a size left out.
    """
    wall = BEFORE_WALL[0] if rng is None else BEFORE_WALL[int(rng.integers(len(BEFORE_WALL)))]
    lamp = lamp or (rng is not None and bool(rng.random() < 0.3))
    sized = [rng is None or bool(rng.random() < 0.85) for _ in scene.solids]
    solids = " and ".join(phrase(solid, size) for solid, size in zip(scene.solids, sized, strict=True))
    light = f", lit from the {scene.lamp.side}" if lamp else ""
    return f"{OPENINGS[scene.style]} {solids} on a {scene.floor} floor{wall.format(scene.wall)}{light}"


def phrase(solid: Solid, size: bool = True) -> str:
    """For example "a large striped red cylinder"."""
    return f"a {solid.size + ' ' if size else ''}{solid.material} {solid.color} {solid.shape}"


def words_of(text: str) -> dict[str, Any]:
    """What a caption says: style, solids as (size or None, material, color, shape), floor, wall, side or None."""
    floor = re.search(r"on a (\w+) floor", text)
    wall = re.search(r"(\w+) wall", text)
    side = re.search(r"lit from the (\w+)", text)
    assert floor and wall, f"no caption of a scene: {text}"
    return {
        "style": next(style for style, opening in OPENINGS.items() if text.startswith(opening)),
        "solids": tuple((size or None, *rest) for size, *rest in SOLID.findall(text)),
        "floor": floor[1],
        "wall": wall[1],
        "side": side[1] if side else None,
    }
