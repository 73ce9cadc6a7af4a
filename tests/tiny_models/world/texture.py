"""Textures that repeat, with levels of detail, and how they are looked up."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

PERIOD = 5.12
TEXELS = 1024
LEVELS = 7


@dataclass(frozen=True)
class Texture:
    """A pyramid of textures, each half as fine as the one before.

    `reflectance` float32 [T, T, 4]: linear red, green, blue and how much the surface mirrors; `relief` float32 [T, T, 2]:
    slope of the height along x and z.
    """

    reflectance: tuple[np.ndarray, ...]
    relief: tuple[np.ndarray, ...]


def noise(rng: np.random.Generator, across: int, down: int, size: int = TEXELS) -> np.ndarray:
    """Smooth noise of mean 0 and deviation about 1, with that many waves, that repeats, float32 [size, size]."""
    grid = np.pad(rng.standard_normal((down, across)).astype(np.float32), 4, mode="wrap")
    scale = size // across, size // down
    large = cv2.resize(grid, ((across + 8) * scale[0], (down + 8) * scale[1]), interpolation=cv2.INTER_CUBIC)
    return large[4 * scale[1] :, 4 * scale[0] :][:size, :size] * np.float32(1.35)


def texture_of(reflectance: np.ndarray, height: np.ndarray) -> Texture:
    """A texture of reflectance [T, T, 4] and height [T, T] in units."""
    step = 2 * PERIOD / TEXELS
    slopes = [(np.roll(height, -1, axis) - np.roll(height, 1, axis)) / step for axis in (1, 0)]
    return Texture(_pyramid(reflectance), _pyramid(np.dstack(slopes).astype(np.float32)))


def looked_up(texture: Texture, u: np.ndarray, v: np.ndarray, level: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Reflectance [4, n] and relief [2, n], between texels and between levels."""
    color, relief = np.zeros((4, len(u)), np.float32), np.zeros((2, len(u)), np.float32)
    whole = np.floor(level).astype(np.int32)
    for number in range(len(texture.reflectance)):
        share = np.where(whole == number, 1 - (level - whole), np.where(whole == number - 1, level - whole, 0))
        used = np.flatnonzero(share > 0)
        if len(used):
            weight = share[used].astype(np.float32)
            color[:, used] += weight * _remapped(texture.reflectance[number], u[used], v[used])
            relief[:, used] += weight * _remapped(texture.relief[number], u[used], v[used])
    return color, relief


def _remapped(texture: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Values between the texels, [C, n]. Rows of 256, whatever n is, so that a point's place does not change its bits."""
    scale = np.float32(texture.shape[0] / PERIOD)
    maps = []
    for coordinate in (u, v):
        rows = np.zeros(-(-len(u) // 256) * 256, np.float32)
        rows[: len(u)] = coordinate * scale % np.float32(texture.shape[0]) - np.float32(0.5)
        maps.append(rows.reshape(-1, 256))
    found = cv2.remap(texture, maps[0], maps[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    return found.reshape(-1, texture.shape[2])[: len(u)].T


def _pyramid(texture: np.ndarray) -> tuple[np.ndarray, ...]:
    levels = [np.ascontiguousarray(texture)]
    for _ in range(LEVELS - 1):
        t = levels[-1]
        levels.append(np.ascontiguousarray((t[::2, ::2] + t[1::2, ::2] + t[::2, 1::2] + t[1::2, 1::2]) / 4))
    return tuple(levels)
