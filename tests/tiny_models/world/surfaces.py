"""The surface of a solid at a point: its normal, and what stripes and spots are drawn along.

Points are float32 [3, n] in the solid's own frame (see solids.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .scene import Solid
from .solids import CONE, CONE_HEIGHT, CUBE, CYLINDER, CYLINDER_HEIGHT, RING, TUBE

STRIPE = 0.42
STRIPE_SHARE = 0.4
SPOT_STEP = 0.52
SPOT = 0.155
EDGE = 0.012
BEVEL = 0.045


@dataclass(frozen=True)
class Chart:
    """Coordinates along a surface of rotation: the length along its profile and the angle (radians), each float32 [n].

    `profile` is a table of lengths along it and the radii there.
    """

    along: np.ndarray
    angle: np.ndarray
    profile: tuple[np.ndarray, np.ndarray]

    def radius_at(self, along: np.ndarray) -> np.ndarray:
        return np.interp(along, *self.profile).astype(np.float32)


def normal(solid: Solid, p: np.ndarray) -> np.ndarray:
    """Unit normals, float32 [3, n]; the edges of cube and cylinder are lit as if they were rounded."""
    if solid.shape == "ball":
        n = np.stack([p[0], p[1] - np.float32(1), p[2]])
    elif solid.shape == "cube":
        q = np.stack([p[0], p[1] - np.float32(CUBE), p[2]])
        n = np.sign(q) * np.maximum(np.abs(q) - np.float32(CUBE - BEVEL), 0)
        n[1] = np.where((q[1] < 0) & (np.abs(n[0]) + np.abs(n[2]) > 0), 0, n[1])
    elif solid.shape == "cylinder":
        around = np.hypot(p[0], p[2])
        outward = np.maximum(around - np.float32(CYLINDER - BEVEL), 0) / np.maximum(around, np.float32(1e-6))
        n = np.stack([p[0] * outward, np.maximum(p[1] - np.float32(CYLINDER_HEIGHT - BEVEL), 0), p[2] * outward])
    elif solid.shape == "cone":
        n = np.stack([p[0], np.hypot(p[0], p[2]) * np.float32(CONE / CONE_HEIGHT), p[2]])
    else:
        y = p[1] - np.float32(1)
        shrink = np.float32(1) - np.float32(RING) / np.hypot(p[0], y)
        n = np.stack([p[0] * shrink, y * shrink, p[2]])
    return n / np.maximum(np.sqrt(n[0] * n[0] + n[1] * n[1] + n[2] * n[2]), np.float32(1e-6))


def marked(solid: Solid, p: np.ndarray) -> np.ndarray:
    """Which share of a point lies on a stripe or a spot of the second color, float32 [n]."""
    if solid.material == "striped":
        return _stripes(solid, p)
    if solid.shape == "cube":
        return _cube_spots(p)
    return _spots(_chart(solid, p))


def grain_place(solid: Solid, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where in the plaster's texture the grain of a matte solid is found, each [n]."""
    if solid.shape != "cube":
        return p[0] + np.float32(0.6) * p[2], p[1] + np.float32(0.8) * p[2]
    size = np.abs(np.stack([p[0], p[1] - np.float32(CUBE), p[2]]))
    face = size.argmax(0)
    return np.where(face == 0, p[2], p[0]), np.where(face == 1, p[2], p[1]) + face.astype(np.float32)


def _stripes(solid: Solid, p: np.ndarray) -> np.ndarray:
    if solid.shape == "ring":
        turns = np.arctan2(p[1] - np.float32(1), p[0]) / np.float32(2 * np.pi)
        position, width = turns * np.float32(9), np.float32(2 * np.pi * RING / 9)
    else:
        q = _tilted(solid, p)
        position, width = q[1] / np.float32(STRIPE), np.float32(STRIPE)
    off = np.abs(position - np.floor(position) - np.float32(0.5)) - np.float32(STRIPE_SHARE / 2)
    return np.clip(np.float32(0.5) - off * width / np.float32(EDGE), 0, 1)


def _spots(chart: Chart) -> np.ndarray:
    """Spots in staggered rows, as many in a row as its length holds."""
    row = np.floor(chart.along / np.float32(SPOT_STEP))
    middle = (row + np.float32(0.5)) * np.float32(SPOT_STEP)
    radius = chart.radius_at(middle)
    count = np.maximum(np.rint(np.float32(2 * np.pi) * radius / np.float32(SPOT_STEP)), 1)
    turn = chart.angle / np.float32(2 * np.pi) * count + np.float32(0.5) * row
    across = (turn - np.floor(turn) - np.float32(0.5)) / count * np.float32(2 * np.pi) * chart.radius_at(chart.along)
    return np.clip(
        (np.float32(SPOT) - np.hypot(across, chart.along - middle)) / np.float32(EDGE) + np.float32(0.5), 0, 1
    )


def _cube_spots(p: np.ndarray) -> np.ndarray:
    """Five spots a face, as on a die."""
    q = np.stack([p[0], p[1] - np.float32(CUBE), p[2]]) / np.float32(CUBE)
    size = np.abs(q)
    face = size.argmax(0)
    u = np.where(face == 0, size[2], size[0])
    v = np.where(face == 1, size[2], size[1])
    nearest = np.minimum(np.hypot(u, v), np.hypot(u - np.float32(0.56), v - np.float32(0.56)))
    return np.clip((np.float32(0.21) - nearest) * np.float32(CUBE / EDGE) + np.float32(0.5), 0, 1)


def _chart(solid: Solid, p: np.ndarray) -> Chart:
    steps = np.linspace(0, 6, 301)
    if solid.shape == "ball":
        q = _tilted(solid, p)
        along = np.arccos(np.clip(-q[1], -1, 1))
        return Chart(along, np.arctan2(q[2], q[0]), (steps, np.abs(np.sin(steps))))
    if solid.shape == "cylinder":
        around = np.hypot(p[0], p[2])
        along = p[1] + np.float32(CYLINDER) - np.minimum(around, np.float32(CYLINDER))
        profile = np.clip(CYLINDER + CYLINDER_HEIGHT - steps, 0.0, CYLINDER)
        return Chart(along, np.arctan2(p[2], p[0]), (steps, profile))
    if solid.shape == "cone":
        slant = np.float32(np.hypot(1.0, CONE / CONE_HEIGHT))
        profile = np.clip(CONE - steps / slant * CONE / CONE_HEIGHT, 0.0, CONE)
        return Chart(p[1] * slant, np.arctan2(p[2], p[0]), (steps, profile))
    y = p[1] - np.float32(1)
    outward = np.hypot(p[0], y) - np.float32(RING)
    # Around the tube, from the inside the ring; four rows close on themselves.
    around = np.arctan2(p[2], -outward) + np.float32(np.pi)
    along = around * np.float32(4 * SPOT_STEP / (2 * np.pi))
    profile = RING + TUBE * np.cos(steps * 2 * np.pi / (4 * SPOT_STEP))
    return Chart(along, np.arctan2(y, p[0]), (steps, profile))


def _tilted(solid: Solid, p: np.ndarray) -> np.ndarray:
    """A ball's pattern leans; the other solids' stands on the floor with them."""
    if solid.shape != "ball":
        return p
    cos, sin = np.float32(np.cos(solid.tilt)), np.float32(np.sin(solid.tilt))
    y = p[1] - np.float32(1)
    return np.stack([cos * p[0] - sin * y, sin * p[0] + cos * y, p[2]])
