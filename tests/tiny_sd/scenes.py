"""Procedural scenes with captions: what tiny_sd is trained on, and the ground truth its edits are judged by.

A scene is one or two flat shapes on a graded background. Because it is drawn from a description, the exact picture
of an edit ("the same scene, one word changed") and the exact mask of every object are known.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

IMAGE_SIZE = 128

PALETTE: dict[str, tuple[int, int, int]] = {
    "red": (214, 40, 40),
    "yellow": (250, 205, 40),
    "green": (40, 150, 70),
    "cyan": (70, 200, 215),
    "blue": (40, 70, 200),
    "purple": (130, 50, 160),
    "white": (240, 240, 240),
    "black": (25, 25, 25),
}
SHAPES = ("circle", "square", "triangle", "star", "cross")
RADIUS_RANGE = {"small": (17.0, 21.0), "large": (32.0, 40.0)}
SECOND_RADIUS_RANGE = (13.0, 16.0)
HELD_OUT_FRACTION = 0.1


@dataclass(frozen=True)
class SceneObject:
    """One flat shape. `x`, `y` and `radius` (of the circumscribed circle) are pixels of a 128 x 128 picture."""

    shape: str
    color: str
    size: str
    x: float
    y: float
    radius: float


@dataclass(frozen=True)
class Scene:
    """Objects in drawing order on a background of one color, graded by +-`gradient` along `angle` (radians)."""

    objects: tuple[SceneObject, ...]
    background: str
    gradient: float
    angle: float

    @property
    def caption(self) -> str:
        """For example "a large red circle and a small white star on a blue background"."""
        phrases = [f"a {item.size} {item.color} {item.shape}" for item in self.objects]
        return f"{' and '.join(phrases)} on a {self.background} background"

    def with_object(self, index: int = 0, **changes: object) -> Scene:
        """The same scene with fields of one object changed: the ground truth of an edit."""
        objects = list(self.objects)
        objects[index] = replace(objects[index], **changes)  # type: ignore[arg-type]
        return replace(self, objects=tuple(objects))


def is_held_out(item: SceneObject, background: str) -> bool:
    """Whether this combination of words is kept out of the training captions (a fixed tenth of all combinations)."""
    key = f"{item.size}/{item.color}/{item.shape}/{background}"
    bucket = sum((position + 1) * ord(letter) * 2654435761 for position, letter in enumerate(key)) >> 7
    return bucket % 1000 < 1000 * HELD_OUT_FRACTION


def random_scene(rng: np.random.Generator, held_out: bool, second_object: bool = False) -> Scene:
    """A scene whose first object's words are (or are not) among the held-out combinations."""
    while True:
        colors = list(PALETTE)
        background = colors.pop(rng.integers(len(colors)))
        first = _random_object(rng, str(rng.choice(colors)), str(rng.choice(list(RADIUS_RANGE))))
        if is_held_out(first, background) != held_out:
            continue
        objects = [first]
        if second_object:
            others = [color for color in colors if color != first.color]
            second = _random_object(rng, str(rng.choice(others)), "small", SECOND_RADIUS_RANGE)
            if np.hypot(second.x - first.x, second.y - first.y) < second.radius + first.radius + 3:
                continue
            objects.append(second)
        return Scene(tuple(objects), background, float(rng.uniform(0.05, 0.2)), float(rng.uniform(0, 2 * np.pi)))


def render(scene: Scene) -> np.ndarray:
    """The picture, uint8 [128, 128, 3], edges antialiased over one pixel."""
    xs, ys = _pixel_grid()
    along = (xs * np.cos(scene.angle) + ys * np.sin(scene.angle)) / IMAGE_SIZE - 0.5 * (
        np.cos(scene.angle) + np.sin(scene.angle)
    )
    shade = 1.0 + 2.0 * scene.gradient * along
    picture = np.array(PALETTE[scene.background], np.float32) * shade[..., None]
    for item in scene.objects:
        coverage = object_coverage(item)[..., None]
        picture = picture * (1 - coverage) + np.array(PALETTE[item.color], np.float32) * coverage
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def object_mask(scene: Scene, index: int = 0) -> np.ndarray:
    """Pixels touched by one object, bool [128, 128]."""
    return object_coverage(scene.objects[index]) > 0


def object_coverage(item: SceneObject) -> np.ndarray:
    """Fraction of each pixel that the object covers, float32 [128, 128], from its signed distance."""
    xs, ys = _pixel_grid()
    return np.clip(0.5 - _signed_distance(item, xs, ys), 0.0, 1.0)


def _random_object(
    rng: np.random.Generator, color: str, size: str, radius_range: tuple[float, float] | None = None
) -> SceneObject:
    radius = float(rng.uniform(*(radius_range or RADIUS_RANGE[size])))
    margin = radius + 3
    x, y = rng.uniform(margin, IMAGE_SIZE - margin, size=2)
    return SceneObject(str(rng.choice(SHAPES)), color, size, float(x), float(y), radius)


def _pixel_grid() -> tuple[np.ndarray, np.ndarray]:
    centers = np.arange(IMAGE_SIZE, dtype=np.float32) + 0.5
    xs, ys = np.meshgrid(centers, centers)
    return xs, ys


def _signed_distance(item: SceneObject, xs: np.ndarray, ys: np.ndarray) -> np.ndarray:
    dx, dy = xs - item.x, ys - item.y
    if item.shape == "circle":
        return np.hypot(dx, dy) - item.radius
    return _polygon_distance(_vertices(item.shape) * item.radius, dx, dy)


def _vertices(shape: str) -> np.ndarray:
    """Corners on or inside the unit circle, float32 [n, 2], y pointing down."""
    if shape == "cross":
        arm = 0.33
        quarter = np.array([[arm, -1.0], [arm, -arm], [1.0, -arm]]) / np.hypot(1.0, arm)
        turns = [np.array([[0, -1], [1, 0]])] * 3
        corners = [quarter]
        for turn in turns:
            corners.append(corners[-1] @ turn.T)
        return np.concatenate(corners).astype(np.float32)
    count, inner, start = {
        "square": (4, None, np.pi / 4),
        "triangle": (3, None, -np.pi / 2),
        "star": (5, 0.45, -np.pi / 2),
    }[shape]
    if inner is None:
        angles = start + np.arange(count) * 2 * np.pi / count
        radii = np.ones(count)
    else:
        angles = start + np.arange(2 * count) * np.pi / count
        radii = np.where(np.arange(2 * count) % 2 == 0, 1.0, inner)
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1).astype(np.float32)


def _polygon_distance(corners: np.ndarray, xs: np.ndarray, ys: np.ndarray) -> np.ndarray:
    """Signed distance to a closed polygon: the nearest edge, negative inside by the even-odd rule."""
    nearest = np.full(xs.shape, np.inf, np.float32)
    inside = np.zeros(xs.shape, bool)
    for (ax, ay), (bx, by) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        ex, ey = bx - ax, by - ay
        along = np.clip(((xs - ax) * ex + (ys - ay) * ey) / (ex * ex + ey * ey), 0.0, 1.0)
        nearest = np.minimum(nearest, np.hypot(xs - ax - along * ex, ys - ay - along * ey))
        crosses = (ay > ys) != (by > ys)
        if ey != 0:
            inside ^= crosses & (xs < ax + (ys - ay) * ex / ey)
    return np.where(inside, -nearest, nearest)
