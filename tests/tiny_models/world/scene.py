"""What a still life consists of: the vocabulary, a scene as data, and random scenes.

Lengths are in units of about ten centimeters. x points right, y up, z away from the camera; the floor is y = 0.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace

import numpy as np

COLORS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white", "black")
MATERIALS = ("matte", "shiny", "striped", "spotted")
SHAPES = ("ball", "cube", "cylinder", "cone", "ring")
FLOORS = ("wooden", "tiled", "grassy", "sandy", "stone")
WALLS = ("white", "gray", "beige", "blue", "green", "pink")
SIZES = {"small": (0.38, 0.44), "large": (0.64, 0.72)}
SIDES = ("left", "right")
STYLES = ("photo", "pencil sketch", "watercolor")

HELD_OUT_EVERY = 10
FREE_SPACE = 0.12
# Angles at which a cube shows two faces.
TURNS = {"cube": (0.35, 1.2)}


@dataclass(frozen=True)
class Solid:
    """One solid. `x` and `z` are where it stands, `radius` half its width or so, `turn` radians around the vertical axis.

    `tilt` (radians) leans a ball's pattern to the right of the picture; the patterns of the other shapes stand upright.
    """

    shape: str
    color: str
    material: str
    size: str
    x: float
    z: float
    radius: float
    turn: float
    tilt: float


@dataclass(frozen=True)
class Lamp:
    """A square softbox centered at x, y, z that faces the middle of the scene."""

    x: float
    y: float
    z: float

    @property
    def side(self) -> str:
        """The side of the picture that the light comes from."""
        return "left" if self.x < 0 else "right"


@dataclass(frozen=True)
class Scene:
    """Solids, the larger first, on a floor before a wall. The floor's texture is shifted by units and turned by radians."""

    solids: tuple[Solid, ...]
    floor: str
    wall: str
    lamp: Lamp
    floor_shift: tuple[float, float]
    floor_turn: float
    style: str = "photo"

    def with_solid(self, index: int = 0, **changes: object) -> Scene:
        """The same scene with fields of one solid changed."""
        solids = list(self.solids)
        solids[index] = replace(solids[index], **changes)  # type: ignore[arg-type]
        return replace(self, solids=tuple(solids))


def is_held_out(solid: Solid, floor: str) -> bool:
    """Whether material, color, shape and floor together are kept out of the training set (a fixed tenth of all)."""
    words = f"{solid.material} {solid.color} {solid.shape} {floor}"
    return zlib.crc32(words.encode()) % HELD_OUT_EVERY == 0


def random_scene(rng: np.random.Generator, objects: int | None = None, held_out: bool = False) -> Scene:
    """A scene of one or two objects (either, where `objects` is None).

    The words of the first object and the floor are held out, or those of no object are.
    """
    if objects is None:
        objects = 1 + int(rng.random() < 0.45)
    while True:
        floor, wall = _choice(rng, FLOORS), _choice(rng, WALLS)
        colors = [color for color in COLORS if color != wall]
        chosen = [str(color) for color in rng.choice(colors, size=objects, replace=False)]
        solids = sorted((random_solid(rng, color, objects) for color in chosen), key=lambda solid: -solid.radius)
        words_fit = (
            is_held_out(solids[0], floor) if held_out else not any(is_held_out(solid, floor) for solid in solids)
        )
        if words_fit and stand_clear(solids):
            return Scene(tuple(solids), floor, wall, random_lamp(rng), _shift(rng), float(rng.uniform(-0.35, 0.35)))


def random_solid(rng: np.random.Generator, color: str, objects: int = 1) -> Solid:
    """A solid of any other word; further from the middle where it is one of several."""
    shape, size = _choice(rng, SHAPES), _choice(rng, tuple(SIZES))
    radius = float(rng.uniform(*SIZES[size]))
    z = float(rng.uniform(-0.75, 0.55))
    reach = 1.25 - radius + 0.1 * z
    x = float(rng.uniform(-reach, reach) if objects == 1 else rng.choice([-1, 1]) * rng.uniform(0.25, reach))
    turn = float(rng.uniform(*TURNS.get(shape, (-np.pi, np.pi))))
    return Solid(shape, color, _choice(rng, MATERIALS), size, x, z, radius, turn, float(rng.uniform(-0.9, 0.9)))


def random_lamp(rng: np.random.Generator, side: str | None = None) -> Lamp:
    """A lamp clearly on one side, low, and in front of the solids."""
    sign = -1 if (side or _choice(rng, SIDES)) == "left" else 1
    return Lamp(sign * float(rng.uniform(3.1, 4.1)), float(rng.uniform(2.1, 3.0)), float(rng.uniform(-2.2, -0.8)))


def stand_clear(solids: list[Solid] | tuple[Solid, ...]) -> bool:
    """Whether no solid hides another: their outlines, as seen by the camera, lie apart."""
    spans = sorted(_span(solid) for solid in solids)
    return all(left[1] + FREE_SPACE < right[0] for left, right in zip(spans, spans[1:], strict=False))


def _span(solid: Solid) -> tuple[float, float]:
    """Left and right end as seen by the camera, in units at z = 0."""
    scale = 5.2 / (5.2 + solid.z)
    return (solid.x - 1.05 * solid.radius) * scale, (solid.x + 1.05 * solid.radius) * scale


def _shift(rng: np.random.Generator) -> tuple[float, float]:
    return float(rng.uniform(0, 5.12)), float(rng.uniform(0, 5.12))


def _choice(rng: np.random.Generator, words: tuple[str, ...]) -> str:
    return words[int(rng.integers(len(words)))]
