"""The camera's rays, where they meet floor and wall, and how fine a texture each of them sees."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .texture import LEVELS, PERIOD, TEXELS

EYE = (0.0, 2.25, -5.2)
TARGET = (0.0, 0.52, 0.0)
HALF_HEIGHT = 0.325
WALL_Z = 2.2
FOCUS, BLUR = 5.4, 1.6


@dataclass(frozen=True)
class View:
    """Rays of one resolution, sample by sample, row by row: N = samples * size * size.

    `directions` float32 [3, N] are unit vectors. `on_floor` and `on_wall` are the numbers of the rays that meet each where no
    solid stands in the way, `floor` and `wall` [3, n] the points there. `level` [n] is the texture's level of detail.
    """

    size: int
    samples: int
    directions: np.ndarray
    on_floor: np.ndarray
    on_wall: np.ndarray
    floor: np.ndarray
    wall: np.ndarray
    level: np.ndarray


@lru_cache(maxsize=4)
def view(size: int, samples: int) -> View:
    """The rays of a picture of `size` x `size` pixels with that many samples a pixel."""
    eye = np.array(EYE)
    forward, right, up = _axes()
    row, column = np.mgrid[:size, :size].astype(np.float64)
    directions = []
    for number in range(samples):
        shift_x, shift_y = (number + 0.5) / samples, (number * 0.618034 + 0.25) % 1
        x = ((column + shift_x) / size * 2 - 1) * HALF_HEIGHT
        y = (1 - (row + shift_y) / size * 2) * HALF_HEIGHT
        ray = forward + x[..., None] * right + y[..., None] * up
        directions.append((ray / np.linalg.norm(ray, axis=-1, keepdims=True)).reshape(-1, 3))
    d = np.concatenate(directions).T
    to_wall = (WALL_Z - EYE[2]) / d[2]
    to_floor = np.where(d[1] < 0, -EYE[1] / np.minimum(d[1], -1e-9), np.inf)
    on_floor, on_wall = np.flatnonzero(to_floor < to_wall), np.flatnonzero(to_floor >= to_wall)
    floor = eye[:, None] + to_floor[on_floor] * d[:, on_floor]
    wall = eye[:, None] + to_wall[on_wall] * d[:, on_wall]
    step = to_floor[on_floor] * 2 * HALF_HEIGHT / size / np.sqrt(samples)
    out_of_focus = 1 + BLUR * np.abs(1 - FOCUS / to_floor[on_floor])
    texels = step / np.sqrt(-d[1, on_floor]) * TEXELS / PERIOD * out_of_focus
    level = np.clip(np.log2(texels) - 0.3, 0, LEVELS - 1.001)
    single = np.float32
    return View(
        size,
        samples,
        d.astype(single),
        on_floor,
        on_wall,
        floor.astype(single),
        wall.astype(single),
        level.astype(single),
    )


def project(point: np.ndarray) -> tuple[float, float]:
    """Where the camera sees a point of the world [3]: across and down, from 0 to 1."""
    forward, right, up = _axes()
    seen = point - np.array(EYE)
    depth = seen @ forward
    return (float(seen @ right / depth / HALF_HEIGHT) + 1) / 2, (1 - float(seen @ up / depth / HALF_HEIGHT)) / 2


def _axes() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit vectors along the camera's sight, to its right and upward."""
    forward = np.array(TARGET) - np.array(EYE)
    forward /= np.linalg.norm(forward)
    right = np.cross([0.0, 1.0, 0.0], forward)
    right /= np.linalg.norm(right)
    return forward, right, np.cross(forward, right)
