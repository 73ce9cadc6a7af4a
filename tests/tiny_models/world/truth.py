"""The truth of an edit in pixels: both pictures, where the objects and their shadows are, what stays, and where rims show."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from . import camera
from .edits import Edit
from .render import nearest_solid, render
from .scene import Scene
from .styles import stylized

SAME = 3
RING = 12


@dataclass(frozen=True)
class Truth:
    """`source` and `target` are uint8 [size, size, 3], the masks bool [size, size].

    `objects` and `shadows` are those of the edited solid before and after; of all solids, where none is edited.
    `changed`: source and target differ by more than `SAME` levels. `ring`: outside objects and shadows, at most 12 pixels
    (of 256) away. `kept`: neither changed nor in the ring nor part of an edited solid or its shadow.
    """

    source: np.ndarray
    target: np.ndarray
    objects: np.ndarray
    shadows: np.ndarray
    changed: np.ndarray
    ring: np.ndarray
    kept: np.ndarray


def truth_of(edit: Edit, size: int = 256, samples: int = 4, grain: float = 1.0) -> Truth:
    """Both pictures of an edit with their masks; `grain` as in `render`."""
    photos = [render(scene, size, samples, edit.seed, grain) for scene in (edit.source, edit.target)]
    source, target = (
        stylized(photo, scene.style) for photo, scene in zip(photos, (edit.source, edit.target), strict=True)
    )
    objects, shadows = np.zeros((2, size, size), bool)
    for scene in (edit.source, edit.target):
        for number in range(len(scene.solids)):
            if edit.solid in (None, number):
                objects |= object_mask(scene, number, size, samples)
                shadows |= shadow_mask(scene, number, size, samples, edit.seed)
    shadows &= ~objects
    changed = _differ(source, target)
    inside = objects | shadows
    ring = _grown(inside, RING * size // 256) & ~inside
    edited = inside if edit.solid is not None else np.zeros_like(inside)
    return Truth(source, target, objects, shadows, changed, ring, ~(changed | ring | edited))


def object_mask(scene: Scene, number: int, size: int = 256, samples: int = 4) -> np.ndarray:
    """The pixels that one solid touches, bool [size, size]."""
    which, _ = nearest_solid(scene, camera.view(size, samples))
    return (which == number).reshape(samples, size, size).any(0)


def shadow_mask(scene: Scene, number: int, size: int = 256, samples: int = 4, seed: int = 0) -> np.ndarray:
    """The pixels beside a solid that look different because of it: its shadow and its mirror images, bool [size, size].

    Specks, such as the mirror images in the edges of tiles, are left out.
    """
    without = replace(scene, solids=scene.solids[:number] + scene.solids[number + 1 :])
    pictures = [render(each, size, samples, seed, grain=0) for each in (scene, without)]
    beside = _differ(*pictures) & ~object_mask(scene, number, size, samples)
    return cv2.morphologyEx(beside.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)) > 0


def _differ(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.abs(one.astype(np.int16) - other).max(-1) > SAME


def _grown(mask: np.ndarray, reach: int) -> np.ndarray:
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    return cv2.dilate(mask.astype(np.uint8), disk) > 0
