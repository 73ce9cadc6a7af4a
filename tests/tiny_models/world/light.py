"""The lamp, soft shadows, and how much of the room's light reaches a point.

Points are float32 [3, n]; light is linear red, green, blue.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .scene import Lamp, Solid
from .solids import (
    CONE,
    CONE_HEIGHT,
    CUBE,
    CYLINDER,
    CYLINDER_HEIGHT,
    RING,
    TUBE,
    bounding_sphere,
    distance,
    to_local,
)

HALF_SIDE = 0.55
STRENGTH = 3.3
LAMP_COLOR = np.array([1.0, 0.94, 0.84], np.float32)[:, None]
ROOM_COLOR = np.array([0.84, 0.92, 1.0], np.float32)[:, None] * np.float32(0.26)
RAYS = 8
POINTS = 4 * RAYS
REACH = 3.2


@dataclass(frozen=True)
class Light:
    """The lamp's square: its center, the unit vector it shines along and its two half sides, each float32 [3]."""

    center: np.ndarray
    axis: np.ndarray
    across: np.ndarray
    upward: np.ndarray
    power: float

    def point_of(self, sample: np.ndarray, ray: int, rotation: np.ndarray) -> np.ndarray:
        """A point of the square for each sample's shadow ray, [3, n]: 32 points are spread over it and shifted by `rotation`."""
        number = sample * np.float32(RAYS) + np.float32(ray)
        a = ((number + np.float32(0.5)) / POINTS + rotation[0]) % 1 * 2 - 1
        b = (number * np.float32(0.618034) + rotation[1]) % 1 * 2 - 1
        return self.center[:, None] + a * self.across[:, None] + b * self.upward[:, None]

    def falling_on(self, points: np.ndarray, normals: np.ndarray) -> np.ndarray:
        """Light from the middle of the lamp on a surface, where nothing is in the way, float32 [n]."""
        return self.arriving(self.center[:, None] - points, normals)

    def arriving(self, to_lamp: np.ndarray, normals: np.ndarray) -> np.ndarray:
        """Light on a surface from a point of the lamp `to_lamp` [3, n] away."""
        squared = dot(to_lamp, to_lamp)
        leaving = -dot(self.axis[:, None], to_lamp)
        return (
            np.maximum(dot(normals, to_lamp), 0) * np.maximum(leaving, 0) / (squared * squared) * np.float32(self.power)
        )


def dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Scalar products, float32 [n], the same bits wherever a vector stands in the array."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def light_of(lamp: Lamp) -> Light:
    """The lamp, as bright in the middle of the scene wherever it stands."""
    center = np.array([lamp.x, lamp.y, lamp.z])
    axis = np.array([0.0, 0.4, 0.2]) - center
    reach = np.linalg.norm(axis)
    axis /= reach
    across = np.cross([0.0, 1.0, 0.0], axis)
    across /= np.linalg.norm(across)
    upward = np.cross(axis, across)
    single = np.float32
    return Light(
        center.astype(single),
        axis.astype(single),
        (across * HALF_SIDE).astype(single),
        (upward * HALF_SIDE).astype(single),
        float(STRENGTH * reach**2),
    )


def may_be_shaded(light: Light, solid: Solid, points: np.ndarray) -> np.ndarray:
    """Where the solid can stand between a point and the lamp, bool [n]."""
    center, radius = bounding_sphere(solid)
    to_lamp = light.center[:, None] - points
    to_solid = center[:, None] - points
    share = np.clip(dot(to_lamp, to_solid) / dot(to_lamp, to_lamp), 0, 1)
    miss = to_solid - share * to_lamp
    return dot(miss, miss) < (radius + np.float32(1.45 * HALF_SIDE) * share) ** 2


def seen_from(light: Light, solids: tuple[Solid, ...], points: np.ndarray, lamp_points: np.ndarray) -> np.ndarray:
    """Whether nothing stands between each point and its point of the lamp, bool [n]."""
    to_lamp = lamp_points - points
    free = np.ones(points.shape[1], bool)
    for solid in solids:
        free &= ~(distance(solid, points, to_lamp) < 1)
    return free


def occluded_floor(solid: Solid, points: np.ndarray) -> np.ndarray:
    """How much of the room a solid hides from points of the floor, float32 [n]: the contact shadow; 0 beyond its reach.

    The share of a cosine-weighted hemisphere is exact for a ball and for a straight tube, which stands for the ring; a
    prism's is that of an upright wall as wide as it is.
    """
    x, _, z = to_local(solid, points)
    away = np.sqrt(x * x + z * z)
    if solid.shape == "ball":
        hidden = 1 / (away * away + np.float32(1)) ** np.float32(1.5)
    elif solid.shape == "cone":
        hidden = _wall_share(away, np.maximum(away - np.float32(CONE), 0), CONE, CONE_HEIGHT)
    elif solid.shape == "cylinder":
        hidden = _wall_share(away, np.maximum(away - np.float32(CYLINDER), 0), CYLINDER, CYLINDER_HEIGHT)
    elif solid.shape == "cube":
        out_x, out_z = np.maximum(np.abs(x) - np.float32(CUBE), 0), np.maximum(np.abs(z) - np.float32(CUBE), 0)
        hidden = _wall_share(away, np.sqrt(out_x * out_x + out_z * out_z), CUBE * 2**0.5, 2 * CUBE)
    else:
        gap = away - np.float32(RING)
        hidden = np.float32(TUBE**2) / (np.float32(TUBE**2) + gap * gap)
    fade = np.maximum(1 - (away / np.float32(REACH)) ** 2, 0)
    return np.minimum(np.float32(1.8) * hidden, np.float32(0.97)) * fade * fade


def occluded_corner(gap: np.ndarray) -> np.ndarray:
    """How much of the room a long wall hides from a point that far from its foot, float32 [n]."""
    return np.float32(0.5) * (1 - gap / np.sqrt(gap * gap + np.float32(0.8)))


def _wall_share(away: np.ndarray, gap: np.ndarray, radius: float, height: float) -> np.ndarray:
    """An upright wall `gap` away, seen as wide as a disk of that radius `away`: half-angle / pi * sin^2 of its elevation."""
    width = np.minimum(np.float32(radius) / np.maximum(away, np.float32(1e-3)), 1)
    # arcsin by its first terms and its end, so that equal arguments give equal bits.
    half_angle = width + np.float32(np.pi / 2 - 1) * width * width * width
    return half_angle / np.float32(np.pi) * np.float32(height**2) / (np.float32(height**2) + gap * gap)
