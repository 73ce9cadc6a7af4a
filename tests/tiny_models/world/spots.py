"""Spots: round wherever they lie, evenly spread over each solid.

A spot is what a small ball around its middle cuts out of the surface. Points are float32 [3, n] in the solid's own frame.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from .scene import Solid
from .solids import CONE, CONE_HEIGHT, CUBE, CYLINDER, CYLINDER_HEIGHT, RING, TUBE
from .surfaces import EDGE, leaning

RADIUS = {"ball": 0.21, "cube": 0.21, "cylinder": 0.2, "cone": 0.19, "ring": 0.18}
BALL_SPOTS = 26
# Rows of spots: height or angle (degrees) around the tube, number in the row, and the first one's share of a step.
CYLINDER_ROWS = ((0.32, 8, 0.0), (0.95, 8, 0.5), (1.58, 8, 0.0))
CYLINDER_TOP = (0.43, 4)
CONE_ROWS = ((0.3, 8, 0.0), (0.8, 6, 0.5), (1.28, 4, 0.0), (1.68, 2, 0.5))
RING_ROWS = ((12.0, 8, 0.0), (90.0, 7, 0.5), (165.0, 4, 0.0))


def spots(solid: Solid, p: np.ndarray) -> np.ndarray:
    """Which share of a point lies on a spot of the second color, float32 [n]."""
    if solid.shape == "ball":
        p = leaning(solid, p)
    nearest = np.full(p.shape[1], np.inf, np.float32)
    for x, y, z in _middles(solid.shape):
        away = [p[0] - x, p[1] - y, p[2] - z]
        nearest = np.minimum(nearest, away[0] * away[0] + away[1] * away[1] + away[2] * away[2])
    return np.clip((np.float32(RADIUS[solid.shape]) - np.sqrt(nearest)) / np.float32(EDGE) + np.float32(0.5), 0, 1)


@cache
def _middles(shape: str) -> tuple[tuple[np.float32, ...], ...]:
    middles = {"ball": _ball, "cube": _cube, "cylinder": _cylinder, "cone": _cone, "ring": _ring}[shape]()
    return tuple(tuple(np.float32(value) for value in middle) for middle in middles)


def _ball() -> list[tuple[float, ...]]:
    """A spiral whose turns are golden angles."""
    heights = 1 - 2 * (np.arange(BALL_SPOTS) + 0.5) / BALL_SPOTS
    return [
        (float(around * np.cos(angle)), float(1 + height), float(around * np.sin(angle)))
        for height, around, angle in zip(
            heights, np.sqrt(1 - heights**2), np.arange(BALL_SPOTS) * np.pi * (3 - 5**0.5), strict=True
        )
    ]


def _cube() -> list[tuple[float, ...]]:
    """Five on each face that is seen, as on a die."""
    off = 0.54 * CUBE
    places = [(0.0, 0.0), *((u, v) for u in (-off, off) for v in (-off, off))]
    sides = [place for u, v in places for side in (-CUBE, CUBE) for place in ((u, v + CUBE, side), (side, v + CUBE, u))]
    return sides + [(u, 2 * CUBE, v) for u, v in places]


def _cylinder() -> list[tuple[float, ...]]:
    away, number = CYLINDER_TOP
    sides = [place for height, *row in CYLINDER_ROWS for place in _row(height, CYLINDER, *row)]
    return sides + _row(CYLINDER_HEIGHT, away, number, 0.5)


def _cone() -> list[tuple[float, ...]]:
    return [place for height, *row in CONE_ROWS for place in _row(height, CONE * (1 - height / CONE_HEIGHT), *row)]


def _ring() -> list[tuple[float, ...]]:
    places = []
    for degrees, *row in RING_ROWS:
        angle = np.radians(degrees)
        places += _row(TUBE * (1 + np.sin(angle)), RING + TUBE * np.cos(angle), *row)
    return places


def _row(height: float, away: float, number: int, first: float) -> list[tuple[float, ...]]:
    angles = (np.arange(number) + first) * 2 * np.pi / number
    return [(float(away * np.cos(angle)), float(height), float(away * np.sin(angle))) for angle in angles]
