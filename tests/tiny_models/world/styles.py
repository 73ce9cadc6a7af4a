"""The same scene in another style: filters on its photograph, so that the truth of a change of style is known.

Pictures are uint8 [H, W, 3]. Strokes and paper are drawn from a fixed seed, in proportion to the picture's height.
"""

from __future__ import annotations

import cv2
import numpy as np

from .render import render
from .scene import Scene

PAPER = np.array([250, 247, 240], np.float32)
GRAPHITE = np.array([70, 70, 76], np.float32)


def depicted(scene: Scene, size: int = 256, samples: int = 4, seed: int = 0) -> np.ndarray:
    """The scene in its own style."""
    return stylized(render(scene, size, samples, seed), scene.style)


def stylized(photo: np.ndarray, style: str) -> np.ndarray:
    """A photograph in one of the styles of the vocabulary."""
    return {"photo": np.copy, "pencil sketch": pencil_sketch, "watercolor": watercolor}[style](photo)


def pencil_sketch(photo: np.ndarray) -> np.ndarray:
    """Contours and hatched shadows in graphite on paper."""
    unit = photo.shape[0] / 256
    calm = cv2.bilateralFilter(photo, int(2 * np.ceil(2 * unit) + 1), 45, 2.5 * unit)
    calm = cv2.GaussianBlur(calm, (0, 0), 0.7 * unit).astype(np.float32) / 255
    slope = np.max([_gradient(np.ascontiguousarray(calm[..., channel])) for channel in range(3)], axis=0)
    contour = np.clip((slope - 0.045) * 7, 0, 1) * (0.72 + 0.28 * _strokes(slope.shape, 0.6, unit, 1))
    dark = 1 - cv2.GaussianBlur(calm @ np.array([0.35, 0.5, 0.15], np.float32), (0, 0), 0.8 * unit)
    ink = 0.75 * contour + 0.16 * dark
    for number, (least, angle) in enumerate(((0.3, 0.75), (0.5, 0.95), (0.7, -0.6))):
        tone = np.clip((dark - least) * 2, 0, 1)
        ink = ink + 0.65 * tone * _strokes(slope.shape, angle, unit, 2 + number)
    share = np.clip(ink * (0.92 + 0.08 * _grain(slope.shape, unit, 0.8)), 0, 0.95)[..., None]
    return _whole(PAPER * (1 - share) + GRAPHITE * share + 2 * _grain(slope.shape, unit, 0.7)[..., None])


def watercolor(photo: np.ndarray) -> np.ndarray:
    """Flat washes that bleed, dark rims where they dry, grainy paper and pale light."""
    unit = photo.shape[0] / 256
    wash = photo
    for _ in range(3):
        wash = cv2.bilateralFilter(wash, int(2 * np.ceil(4 * unit) + 1), 40, 5 * unit)
    wash = _warped(wash, 2.2 * unit, unit).astype(np.float32) / 255
    light = wash.max(-1, keepdims=True)
    steps = 5.0
    washes = (np.floor(light * steps) + _smooth(light * steps - np.floor(light * steps))) / steps
    wash = wash * (washes + 0.04) / (light + 0.04)
    rim = np.clip((_gradient(cv2.GaussianBlur(wash.mean(-1), (0, 0), 1.0 * unit)) - 0.02) * 1.6, 0, 0.35)[..., None]
    pigment = (
        1 + 0.10 * _grain(light.shape[:2], unit, 9)[..., None] + 0.045 * _grain(light.shape[:2], unit, 0.8)[..., None]
    )
    strength = (1 - wash) * 0.84 * np.clip(pigment, 0.6, 1.4) * (1 - rim) + rim * 0.9 * (1 - wash * 0.6)
    return _whole(PAPER * (1 - np.clip(strength, 0, 1)))


def _gradient(gray: np.ndarray) -> np.ndarray:
    """Size of the change from pixel to pixel, per 1/256 of the height."""
    unit = gray.shape[0] / 256
    across, down = cv2.Sobel(gray, cv2.CV_32F, 1, 0, ksize=3), cv2.Sobel(gray, cv2.CV_32F, 0, 1, ksize=3)
    return np.hypot(across, down) / 4 * unit


def _grain(shape: tuple[int, ...], unit: float, width: float) -> np.ndarray:
    """Noise of deviation 1 that is smooth over `width` units, the same picture at every size."""
    grid = np.random.default_rng(8).standard_normal((256, 256)).astype(np.float32)
    noise = cv2.GaussianBlur(grid, (0, 0), width)
    return cv2.resize(noise / noise.std(), (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)


def _strokes(shape: tuple[int, ...], angle: float, unit: float, seed: int) -> np.ndarray:
    """Pencil strokes along an angle (radians), from 0 to 1."""
    grid = np.random.default_rng(seed).standard_normal((512, 512)).astype(np.float32)
    streaks = cv2.GaussianBlur(grid, (0, 0), sigmaX=9, sigmaY=0.75)
    turn = cv2.getRotationMatrix2D((256, 256), float(np.degrees(angle)), unit)
    turn[:, 2] += np.array([shape[1], shape[0]]) / 2 - 256
    strokes = cv2.warpAffine(streaks / streaks.std(), turn, (shape[1], shape[0]), borderMode=cv2.BORDER_WRAP)
    return np.clip(0.5 + 0.45 * strokes, 0, 1)


def _warped(picture: np.ndarray, reach: float, unit: float) -> np.ndarray:
    """Contours that waver by about `reach` pixels."""
    down, across = np.indices(picture.shape[:2], dtype=np.float32)
    wave = _grain(picture.shape, unit, 7) * np.float32(reach * 0.5)
    return cv2.remap(picture, across + wave, down + wave[::-1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def _smooth(share: np.ndarray) -> np.ndarray:
    """From 0 to 1, mostly in the middle third."""
    share = np.clip(share * 2 - 0.5, 0, 1)
    return share * share * (3 - 2 * share)


def _whole(picture: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)
