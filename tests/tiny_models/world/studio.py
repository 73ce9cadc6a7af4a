"""What a mirror shows of the room beyond floor and wall, and of the lamp itself."""

from __future__ import annotations

import numpy as np

from .light import HALF_SIDE, LAMP_COLOR, Light, dot

LAMP_RADIANCE = 11.0
DAYLIGHT = np.array([0.92, 0.97, 1.0], np.float32)[:, None]
# A window's left and right end (tangent of the angle from the camera's side of the room), its lowest and highest
# elevation (sine), panes across and up, and its brightness; the first is on the lamp's side.
WINDOWS = ((0.25, 1.75, 0.01, 0.62, 3, 2, 5.0), (-1.75, -0.35, 0.01, 0.50, 3, 2, 1.8))
BAR = 0.1
SOFT = 0.05


def room_seen(light: Light, p: np.ndarray, d: np.ndarray) -> np.ndarray:
    """The rest of the room as a mirror shows it: dim below, brighter above, with a window on either side of the camera."""
    up = np.clip(d[1], 0, 1)
    seen = (np.float32(0.14) + np.float32(0.4) * up * up) * np.ones((3, 1), np.float32)
    # Radians from the camera's side of the room toward the lamp's.
    angle = np.arctan2(d[0] * np.sign(light.center[0]), -d[2])
    for left, right, low, high, across, upward, brightness in WINDOWS:
        u, v = (angle - np.float32(left)) / np.float32(right - left), (d[1] - np.float32(low)) / np.float32(high - low)
        glass = _glass(u, across) * _glass(v, upward)
        seen = (
            seen + glass * (np.float32(brightness) * (np.float32(0.7) + np.float32(0.3) * np.clip(v, 0, 1))) * DAYLIGHT
        )
    return seen


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


def _glass(place: np.ndarray, panes: int) -> np.ndarray:
    """Which share of a line across a window (0 to 1 from frame to frame) is glass and not bar, float32 [n]."""
    inside = place * np.float32(panes)
    bar = np.abs(inside - np.rint(inside))
    glass = np.clip((bar - np.float32(BAR / 2)) / np.float32(SOFT) + np.float32(0.5), 0, 1)
    return np.where((place > 0) & (place < 1), glass, 0)
