"""Read color, shape and background off a picture, by the renderer's palette and its own shapes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
import scenes

SHADES = np.linspace(0.78, 1.22, 12, dtype=np.float32)
BORDER = 4
SMALLEST_AREA = 60
REFERENCE_RADIUS = 40.0


@dataclass(frozen=True)
class Verdict:
    """What a picture shows; color and shape are None where no object stands out of the background."""

    background: str
    color: str | None
    shape: str | None


def judge(picture: np.ndarray) -> Verdict:
    """The background's color, and the color and shape of the largest object, of a uint8 [128, 128, 3] picture."""
    nearest = nearest_colors(picture)
    names = list(scenes.PALETTE)
    background = _background(nearest)
    mask = largest_blob(nearest != background)
    if mask.sum() < SMALLEST_AREA:
        return Verdict(names[background], None, None)
    core = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    counted = nearest[core] if core.any() else nearest[mask]
    color = int(np.bincount(counted[counted != background], minlength=len(names)).argmax())
    return Verdict(names[background], names[color], best_shape(mask))


def object_region(picture: np.ndarray) -> np.ndarray:
    """Where the largest object of a uint8 [128, 128, 3] picture is, bool [128, 128]."""
    nearest = nearest_colors(picture)
    return largest_blob(nearest != _background(nearest))


def largest_blob(mask: np.ndarray) -> np.ndarray:
    """The largest connected region of a bool [H, W] mask."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    if count == 1:
        return np.zeros_like(mask)
    return labels == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())


def best_shape(mask: np.ndarray) -> str:
    """The renderer's shape that overlaps the mask best when drawn with the mask's own center and area."""
    return max(scenes.SHAPES, key=lambda shape: overlap(mask, shape))


def overlap(mask: np.ndarray, shape: str) -> float:
    """Intersection over union of a bool [128, 128] mask with `shape` at the mask's center and area."""
    area, offset_x, offset_y = _reference(shape)
    ys, xs = np.nonzero(mask)
    radius = REFERENCE_RADIUS * float(np.sqrt(mask.sum() / area))
    scale = radius / REFERENCE_RADIUS
    x, y = xs.mean() + 0.5 - offset_x * scale, ys.mean() + 0.5 - offset_y * scale
    drawn = scenes.object_coverage(scenes.SceneObject(shape, "white", "large", float(x), float(y), radius)) > 0.5
    return float((mask & drawn).sum() / (mask | drawn).sum())


@cache
def _reference(shape: str) -> tuple[float, float, float]:
    """Area of the shape at the reference radius, and its center of mass relative to its own center."""
    middle = scenes.IMAGE_SIZE / 2
    coverage = scenes.object_coverage(scenes.SceneObject(shape, "white", "large", middle, middle, REFERENCE_RADIUS))
    ys, xs = np.indices(coverage.shape)
    total = coverage.sum()
    return (
        float(total),
        float((xs * coverage).sum() / total + 0.5 - middle),
        float((ys * coverage).sum() / total + 0.5 - middle),
    )


def _background(nearest: np.ndarray) -> int:
    """The color that most of the picture's border has."""
    border = np.concatenate(
        [nearest[:BORDER].ravel(), nearest[-BORDER:].ravel(), nearest[:, :BORDER].ravel(), nearest[:, -BORDER:].ravel()]
    )
    return int(np.bincount(border, minlength=len(scenes.PALETTE)).argmax())


def nearest_colors(picture: np.ndarray) -> np.ndarray:
    """The palette's color nearest to each pixel, whatever its shade, as an index [H, W]."""
    palette = np.array(list(scenes.PALETTE.values()), np.float32)
    shaded = np.clip(palette[:, None] * SHADES[None, :, None], 0, 255)
    distance = np.linalg.norm(picture.astype(np.float32)[:, :, None, None] - shaded, axis=-1)
    return distance.min(axis=-1).argmin(axis=-1)
