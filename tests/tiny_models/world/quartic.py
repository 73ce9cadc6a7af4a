"""Where a ray meets a torus: a quartic, solved in closed form."""

from __future__ import annotations

import numpy as np


def torus_distance(origins: np.ndarray, directions: np.ndarray, ring: float, tube: float) -> np.ndarray:
    """The nearest positive distance to a torus around the z axis, float32 [n]; infinite where a ray misses.

    `ring` and `tube` are the radii of the circle in the middle of the tube and of the tube. The quartic's depressed form
    is split into two quadratics by a root of its resolvent cubic (Ferrari; in the arrangement of I. Quilez, iTorus).
    """
    o, d = origins.astype(np.float64), directions.astype(np.float64)
    length = np.sqrt((d * d).sum(0))
    d = d / length
    # From the point nearest to the center, which keeps the coefficients small.
    ahead = -(o * d).sum(0)
    o = o + ahead * d
    squared = (o * o).sum(0)
    k = 0.5 * (squared - tube**2 - ring**2)
    p = 4 * (k + ring**2 * d[2] * d[2])
    q = 8 * ring**2 * o[2] * d[2]
    r = 4 * (k * k + ring**2 * (o[2] * o[2] - tube**2))
    found = np.full(len(k), np.inf)
    for root in _depressed_quartic(p, q, r):
        distance = root + ahead
        found = np.where((distance > 1e-3) & (distance < found), distance, found)
    return (found / length).astype(np.float32)


def _depressed_quartic(p: np.ndarray, q: np.ndarray, r: np.ndarray) -> tuple[np.ndarray, ...]:
    """The real roots of t^4 + p t^2 + q t + r; not a number where one is complex."""
    # m: the largest root of m^3 + p m^2 + (p^2 / 4 - r) m - q^2 / 8 = 0, which is never negative.
    b, c, e = p, p * p / 4 - r, -q * q / 8
    third = b / 3
    h = c / 3 - third * third
    g = third**3 - third * c / 2 + e / 2
    discriminant = g * g + h**3
    root = np.sqrt(np.maximum(discriminant, 0.0))
    one = np.cbrt(-g + root) + np.cbrt(-g - root)
    size = np.sqrt(np.maximum(-h, 1e-300))
    three = 2 * size * np.cos(np.arccos(np.clip(-g / size**3, -1.0, 1.0)) / 3)
    m = np.maximum(np.where(discriminant >= 0, one, three) - third, 1e-12)
    s = np.sqrt(2 * m)
    first = np.sqrt(-(2 * p + 2 * m + 2 * q / s))
    second = np.sqrt(-(2 * p + 2 * m - 2 * q / s))
    return (s - first) / 2, (s + first) / 2, (-s - second) / 2, (-s + second) / 2
