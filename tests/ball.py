"""The photo that tests change: a red ball, which becomes blue; the whole of it, and a part of 128 pixels for speed."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image
from tiny_models import photos
from tiny_models.photos import PHOTOS
from tiny_models.world.judge import judge

BEFORE, AFTER = PHOTOS["ball"].before, PHOTOS["ball"].after
CUBE = BEFORE.replace("ball", "cube")
"""What the photo shows, with another shape."""
EDITED = ("blue", "ball", "tiled", "green")
"""What `seen` says of the edit that AFTER asks for."""
PART = np.s_[64:192, 96:224]
"""The part of the photo that tests take where quality does not matter: the ball and what is around it."""
ROOM = 8
"""Pixels around the ball that are painted over with it."""


@cache
def photo() -> np.ndarray:
    """uint8 [256, 256, 3]."""
    return photos.photo("ball")


def mask() -> np.ndarray:
    """Where the ball is, bool [256, 256]."""
    return photos.mask("ball")


def around(mask: np.ndarray, room: int = ROOM) -> np.ndarray:
    """The box around what a mask [H, W] marks, with `room` pixels on every side."""
    box = np.zeros_like(mask)
    box[tuple(slice(max(0, side.min() - room), side.max() + room + 1) for side in np.nonzero(mask))] = True
    return box


def write(folder: Path) -> None:
    """Write "ball.png", "part.png" and their masks, "ball mask.png" and "part mask.png".

    "painted ball.png" and "painted part.png" are transparent around the ball, as after painting in the mask editor.
    """
    for name, region in (("ball", np.s_[:, :]), ("part", PART)):
        image, inside = Image.fromarray(photo()[region]), mask()[region]
        image.save(folder / f"{name}.png")
        Image.fromarray(inside).save(folder / f"{name} mask.png")
        image.putalpha(Image.fromarray(np.where(around(inside), 0, 255).astype(np.uint8)))
        image.save(folder / f"painted {name}.png")


def seen(picture: np.ndarray) -> tuple[str | None, str | None, str, str]:
    """Color and shape of what stands where the photo has its ball, floor and wall, as the judge reads a picture uint8 [H, W, 3]."""
    verdict = judge(picture)
    middle = np.argwhere(mask()).mean(0) / mask().shape
    solid = verdict.nearest(middle[1], middle[0])
    return solid and solid.color, solid and solid.shape, verdict.floor, verdict.wall
