"""Colors of solids, walls and floors."""

from __future__ import annotations

import numpy as np

PALETTE = {
    "red": (171, 36, 34),
    "orange": (217, 111, 37),
    "yellow": (230, 192, 61),
    "green": (42, 118, 60),
    "blue": (36, 68, 160),
    "purple": (100, 49, 136),
    "pink": (230, 140, 172),
    "white": (228, 225, 218),
    "black": (36, 35, 37),
}
# Stripes and spots are white; those of a white solid are gray, so that it is not taken for a black one.
SECOND = {"white": (112, 114, 120)}
# How much a shiny solid mirrors when seen from the front; a black one would else show the room and no color of its own.
GLOSS = {"any": 0.24, "black": 0.11}
WALLS = {
    "white": (226, 224, 218),
    "gray": (122, 124, 128),
    "beige": (208, 182, 142),
    "blue": (100, 136, 180),
    "green": (128, 158, 116),
    "pink": (220, 156, 160),
}
BOARD = (222, 218, 208)
BLADE = (74, 108, 36)
FLOOR_BOUNCE = {
    "wooden": (150, 104, 64),
    "tiled": (150, 150, 150),
    "grassy": (70, 100, 32),
    "sandy": (200, 166, 118),
    "stone": (118, 116, 112),
}


def linear(color: tuple[int, int, int]) -> np.ndarray:
    """An sRGB color of 0 to 255 as linear light, float32 [3, 1]."""
    return ((np.array(color, np.float64) / 255) ** 2.2).astype(np.float32)[:, None]
