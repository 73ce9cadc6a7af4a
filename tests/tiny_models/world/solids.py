"""Where rays meet the solids, in closed form, and what lies at the point that they meet.

Every solid is defined in a frame of its own: it stands on y = 0 around the y axis and is about 2 wide. A ring lies flat.
Points and directions are float32 [3, n]; a distance is in units of the direction's length, infinite where a ray misses.
"""

from __future__ import annotations

import numpy as np

from .quartic import torus_distance
from .scene import Solid

CUBE = 0.84
CYLINDER, CYLINDER_HEIGHT = 0.76, 1.9
CONE, CONE_HEIGHT = 0.95, 2.15
RING, TUBE = 0.75, 0.3
NEAR = 1e-4


def to_local(solid: Solid, points: np.ndarray) -> np.ndarray:
    """Points of the world in the solid's own frame."""
    x, y, z = points[0] - np.float32(solid.x), points[1], points[2] - np.float32(solid.z)
    return _turned(solid, np.stack([x, y, z])) / np.float32(solid.radius)


def direction_to_local(solid: Solid, directions: np.ndarray) -> np.ndarray:
    """Directions of the world in the solid's own frame, scaled so that distances along them stay the same."""
    return _turned(solid, directions) / np.float32(solid.radius)


def direction_to_world(solid: Solid, directions: np.ndarray) -> np.ndarray:
    """Unit directions of the solid's own frame in the world."""
    cos, sin = np.float32(np.cos(solid.turn)), np.float32(np.sin(solid.turn))
    x, y, z = directions
    return np.stack([cos * x + sin * z, y, cos * z - sin * x])


def bounding_sphere(solid: Solid) -> tuple[np.ndarray, float]:
    """Center [3] and radius of a sphere that holds the solid."""
    middle, radius = {
        "ball": (1.0, 1.0),
        "cube": (CUBE, CUBE * 3**0.5),
        "cylinder": (CYLINDER_HEIGHT / 2, np.hypot(CYLINDER, CYLINDER_HEIGHT / 2)),
        "cone": (0.85, 1.31),
        "ring": (TUBE, RING + TUBE),
    }[solid.shape]
    center = np.array([solid.x, middle * solid.radius, solid.z], np.float32)
    return center, float(radius) * solid.radius * 1.001


def distance(solid: Solid, origins: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """How far each ray of the world goes before it meets the solid, float32 [n]."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found = DISTANCES[solid.shape](to_local(solid, origins), direction_to_local(solid, directions))
    return np.where(found > NEAR, found, np.float32(np.inf))


def _ball(o: np.ndarray, d: np.ndarray) -> np.ndarray:
    y = o[1] - np.float32(1)
    a = d[0] * d[0] + d[1] * d[1] + d[2] * d[2]
    b = o[0] * d[0] + y * d[1] + o[2] * d[2]
    c = o[0] * o[0] + y * y + o[2] * o[2] - np.float32(1)
    near, _ = _roots(a, b, c)
    return near


def _cube(o: np.ndarray, d: np.ndarray) -> np.ndarray:
    half = np.float32(CUBE)
    enter, leave = np.float32(-np.inf), np.float32(np.inf)
    for axis, middle in enumerate((0.0, CUBE, 0.0)):
        inverse = np.float32(1) / d[axis]
        first = (np.float32(middle) - half - o[axis]) * inverse
        second = (np.float32(middle) + half - o[axis]) * inverse
        enter = np.maximum(enter, np.minimum(first, second))
        leave = np.minimum(leave, np.maximum(first, second))
    return np.where(enter <= leave, np.where(enter > NEAR, enter, leave), np.float32(np.inf))


def _cylinder(o: np.ndarray, d: np.ndarray) -> np.ndarray:
    a = d[0] * d[0] + d[2] * d[2]
    b = o[0] * d[0] + o[2] * d[2]
    c = o[0] * o[0] + o[2] * o[2] - np.float32(CYLINDER**2)
    near, far = _roots(a, b, c)
    bottom, top = -o[1] / d[1], (np.float32(CYLINDER_HEIGHT) - o[1]) / d[1]
    enter, leave = np.maximum(near, np.minimum(bottom, top)), np.minimum(far, np.maximum(bottom, top))
    return np.where(enter <= leave, np.where(enter > NEAR, enter, leave), np.float32(np.inf))


def _cone(o: np.ndarray, d: np.ndarray) -> np.ndarray:
    slope = np.float32((CONE / CONE_HEIGHT) ** 2)
    y = o[1] - np.float32(CONE_HEIGHT)
    a = d[0] * d[0] + d[2] * d[2] - slope * d[1] * d[1]
    b = o[0] * d[0] + o[2] * d[2] - slope * y * d[1]
    c = o[0] * o[0] + o[2] * o[2] - slope * y * y
    nearest = np.full(o.shape[1], np.inf, np.float32)
    for root in _roots(a, b, c):
        height = o[1] + root * d[1]
        valid = (height >= 0) & (height <= CONE_HEIGHT) & (root > NEAR)
        nearest = np.where(valid & (root < nearest), root, nearest)
    base = -o[1] / d[1]
    x, z = o[0] + base * d[0], o[2] + base * d[2]
    valid = (x * x + z * z <= CONE**2) & (base > NEAR)
    return np.where(valid & (base < nearest), base, nearest)


def _ring(o: np.ndarray, d: np.ndarray) -> np.ndarray:
    lying = np.stack([o[0], o[2], o[1] - np.float32(TUBE)])
    return torus_distance(lying, d[[0, 2, 1]], RING, TUBE)


def _roots(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both solutions of a t^2 + 2 b t + c = 0, the smaller first; not a number where there is none."""
    root = np.sqrt(b * b - a * c)
    first, second = (-b - root) / a, (-b + root) / a
    return np.minimum(first, second), np.maximum(first, second)


def _turned(solid: Solid, vectors: np.ndarray) -> np.ndarray:
    cos, sin = np.float32(np.cos(solid.turn)), np.float32(np.sin(solid.turn))
    x, y, z = vectors
    return np.stack([cos * x - sin * z, y, cos * z + sin * x])


DISTANCES = {"ball": _ball, "cube": _cube, "cylinder": _cylinder, "cone": _cone, "ring": _ring}
