"""The surface of a solid at a point: its normal, and which of its points lie on a stripe.

Points are float32 [3, n] in the solid's own frame (see solids.py).
"""

from __future__ import annotations

import numpy as np

from .scene import Solid
from .solids import CONE, CONE_HEIGHT, CUBE, CYLINDER, CYLINDER_HEIGHT, RING, TUBE

STRIPE = 0.5
STRIPE_SHARE = 0.47
RING_STRIPES = 8
EDGE = 0.012
BEVEL = 0.06
BULGE = 0.42
# Where a stripe of the solid's own color is centered; it leaves the tops of cube and cylinder plain.
MIDDLE = {"ball": 0.0, "cube": 2 * CUBE, "cylinder": CYLINDER_HEIGHT, "cone": 0.25 * STRIPE}


def normal(solid: Solid, p: np.ndarray) -> np.ndarray:
    """Unit normals, float32 [3, n]; the edges of cube and cylinder are lit as if they were rounded.

    The flat sides of shiny ones bulge a little, as lacquer does, so that they mirror the windows wherever they face.
    """
    bulge = np.float32(BEVEL * BULGE if solid.material == "shiny" else 0)
    if solid.shape == "ball":
        n = np.stack([p[0], p[1] - np.float32(1), p[2]])
    elif solid.shape == "cube":
        q = np.stack([p[0], p[1] - np.float32(CUBE), p[2]])
        n = np.sign(q) * np.maximum(np.abs(q) - np.float32(CUBE - BEVEL), 0)
        n[1] = np.where((q[1] < 0) & (np.abs(n[0]) + np.abs(n[2]) > 0), 0, n[1])
        n = n + bulge / np.float32(CUBE) * q
    elif solid.shape == "cylinder":
        around = np.hypot(p[0], p[2])
        outward = np.maximum(around - np.float32(CYLINDER - BEVEL), 0) / np.maximum(around, np.float32(1e-6))
        outward = outward + bulge / np.float32(CYLINDER)
        upward = np.maximum(p[1] - np.float32(CYLINDER_HEIGHT - BEVEL), 0)
        upward = upward + bulge * (p[1] / np.float32(CYLINDER_HEIGHT / 2) - 1)
        n = np.stack([p[0] * outward, upward, p[2] * outward])
    elif solid.shape == "cone":
        leaning_up = np.float32(CONE / CONE_HEIGHT) + bulge * 19 * (
            p[1] / np.float32(CONE_HEIGHT / 2) - np.float32(0.9)
        )
        n = np.stack([p[0], np.hypot(p[0], p[2]) * leaning_up, p[2]])
    else:
        shrink = np.float32(1) - np.float32(RING) / np.hypot(p[0], p[2])
        n = np.stack([p[0] * shrink, p[1] - np.float32(TUBE), p[2] * shrink])
    return n / np.maximum(np.sqrt(n[0] * n[0] + n[1] * n[1] + n[2] * n[2]), np.float32(1e-6))


def stripes(solid: Solid, p: np.ndarray) -> np.ndarray:
    """Which share of a point lies on a stripe of the second color, float32 [n].

    The camera sees the stripes of every shape from the side: they lie level or, around a ball, lean to the right or left.
    """
    if solid.shape == "ring":
        turns = np.arctan2(p[2], p[0]) / np.float32(2 * np.pi)
        position, width = turns * np.float32(RING_STRIPES), np.float32(2 * np.pi * RING / RING_STRIPES)
    else:
        height = leaning(solid, p)[1] - np.float32(1) if solid.shape == "ball" else p[1]
        position, width = (height - np.float32(MIDDLE[solid.shape])) / np.float32(STRIPE), np.float32(STRIPE)
    off = np.abs(position - np.floor(position) - np.float32(0.5)) - np.float32(STRIPE_SHARE / 2)
    return np.clip(np.float32(0.5) - off * width / np.float32(EDGE), 0, 1)


def leaning(solid: Solid, p: np.ndarray) -> np.ndarray:
    """Points of a ball in the frame of its pattern, whose pole leans in the plane of the picture, however the ball is turned."""
    cos, sin = np.float32(np.cos(solid.turn)), np.float32(np.sin(solid.turn))
    x, y, z = cos * p[0] + sin * p[2], p[1] - np.float32(1), cos * p[2] - sin * p[0]
    lean_cos, lean_sin = np.float32(np.cos(solid.tilt)), np.float32(np.sin(solid.tilt))
    x, y = lean_cos * x - lean_sin * y, lean_sin * x + lean_cos * y
    return np.stack([cos * x - sin * z, y + np.float32(1), cos * z + sin * x])
