"""What a mirror shows of the room beyond floor and wall, and of the lamp itself."""

from __future__ import annotations

import numpy as np

from .light import HALF_SIDE, LAMP_COLOR, Light, dot

LAMP_RADIANCE = 8.0


def room_seen(light: Light, p: np.ndarray, d: np.ndarray) -> np.ndarray:
    """The rest of the room as a mirror shows it: dim below, brighter above, a pale card opposite the lamp."""
    up = np.clip(d[1], 0, 1)
    card = np.clip((-d[0] * np.sign(light.center[0]) - np.float32(0.55)) * 6, 0, 1) * np.clip(
        (d[1] + np.float32(0.1)) * 8, 0, 1
    )
    card = card * np.clip((np.float32(0.62) - d[1]) * 8, 0, 1)
    return (np.float32(0.10) + np.float32(0.4) * up * up + np.float32(0.5) * card) * np.ones((3, 1), np.float32)


def lamp_seen(light: Light, p: np.ndarray, d: np.ndarray, nearest: np.ndarray) -> np.ndarray:
    """The lamp's own image in a mirror, with edges a little soft."""
    toward = dot(light.axis[:, None], d)
    away = dot(light.axis[:, None], light.center[:, None] - p) / np.where(toward < -1e-4, toward, np.float32(-1e-4))
    miss = p + away * d - light.center[:, None]
    a = np.abs(dot(light.across[:, None], miss)) / np.float32(HALF_SIDE**2)
    b = np.abs(dot(light.upward[:, None], miss)) / np.float32(HALF_SIDE**2)
    inside = np.clip((np.float32(1.1) - np.maximum(a, b)) * 8, 0, 1)
    lit = (toward < -1e-4) & (away > 0) & (away < nearest)
    return np.where(lit, inside * np.float32(LAMP_RADIANCE), 0) * LAMP_COLOR
