"""What a solid is finished with: its color, stripes, spots or grain, and the grass that stands before it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .floors import clay
from .light import dot
from .palette import BLADE, PALETTE, SECOND, linear
from .scene import Solid
from .solids import direction_to_world, to_local
from .spots import spots
from .surfaces import normal, stripes
from .texture import looked_up

BLADES = ((0.035, 0.055), (0.027, 0.085), (0.022, 0.12))
"""Width and greatest height, in units, of the blades of each layer."""


@dataclass(frozen=True)
class Finish:
    """`color` (linear) and `normals` float32 [3, n]; `bare` bool [n]: no grass stands before the point."""

    color: np.ndarray
    normals: np.ndarray
    bare: np.ndarray


def finish_at(solid: Solid, p: np.ndarray, grassy: bool) -> Finish:
    """The finish of a solid at points p [3, n] of the world."""
    local = to_local(solid, p)
    n = normal(solid, local)
    color = linear(PALETTE[solid.color])
    if solid.material in ("striped", "spotted"):
        second = linear(SECOND.get(solid.color, PALETTE["white"]))
        color = color + (second - color) * (stripes if solid.material == "striped" else spots)(solid, local)
    if solid.material == "matte":
        tone, n = _grained(local * np.float32(solid.radius), n)
        color = color * tone
    n = direction_to_world(solid, n)
    if not grassy:
        return Finish(color, n, np.ones(p.shape[1], bool))
    tone = _blades(p)
    upward = np.array([[0], [1], [0]], np.float32)
    return Finish(np.where(tone > 0, linear(BLADE) * tone, color), np.where(tone > 0, upward, n), tone <= 0)


def _grained(p: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Clay at points p with unit normals n [3, n]: its tone [n], and its normals. Seen along each axis, and blended."""
    shares = n * n
    shares = shares * shares
    shares = shares / (shares[0] + shares[1] + shares[2])
    tone, lean = np.zeros_like(p[0]), np.zeros_like(p)
    for axis in range(3):
        one, other = (axis + 1) % 3, (axis + 2) % 3
        color, relief = looked_up(clay(), p[one] + np.float32(axis), p[other], np.full_like(p[0], 0.5))
        tone += shares[axis] * color[0]
        lean[one] -= shares[axis] * relief[0]
        lean[other] -= shares[axis] * relief[1]
    n = n + lean
    return tone, n / np.sqrt(dot(n, n))


def _blades(p: np.ndarray) -> np.ndarray:
    """The tone of the grass that stands before a point of the world, float32 [n]; 0 where there is none."""
    tone = np.zeros_like(p[0])
    for layer, (width, tall) in enumerate(BLADES):
        place = (p[0] + np.float32(0.37) * p[2] + np.float32(0.4 * (layer - 1)) * p[1]) / np.float32(width)
        cell = np.floor(place)
        chance = cell * np.float32(0.754877) + np.float32(0.3 * layer)
        chance = chance - np.floor(chance)
        height = np.float32(tall) * (np.float32(0.35) + np.float32(0.65) * chance)
        inside = np.abs(place - cell - np.float32(0.5)) < np.float32(0.5) * (1 - p[1] / height)
        tone = np.where(inside & (tone == 0), np.float32(0.45) + np.float32(0.5) * chance + 4 * p[1], tone)
    return tone
