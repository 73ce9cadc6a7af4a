"""A scene as a picture."""

from __future__ import annotations

import cv2
import numpy as np

from . import camera
from .camera import EYE
from .light import light_of
from .scene import Scene
from .shading import Stage, floor_light, may_meet, solid_light, wall_light
from .solids import distance

EXPOSURE = 0.54
BRIGHTEST = 2.8
SOFTNESS = 0.55
SHOT_NOISE, READ_NOISE = 0.010, 0.0035


def render(scene: Scene, size: int = 256, samples: int = 4, seed: int = 0, grain: float = 1.0) -> np.ndarray:
    """The photograph, uint8 [size, size, 3].

    `seed` draws the spread of shadow rays and the sensor's noise, both pixel by pixel: a pixel that a change of the scene does
    not reach stays the same, bit for bit. `grain` 0 leaves the sensor's noise out.
    """
    rng = np.random.default_rng(seed)
    rotation = _spread(rng, size)
    grains = rng.standard_normal((size, size, 3), dtype=np.float32)
    light = np.minimum(_light(scene, camera.view(size, samples), rotation), np.float32(BRIGHTEST))
    picture = light.reshape(3, samples, size, size).mean(1).transpose(1, 2, 0)
    picture = cv2.GaussianBlur(np.ascontiguousarray(picture), (0, 0), SOFTNESS * size / 256)
    return _developed(picture, grains * np.float32(grain))


def nearest_solid(scene: Scene, view: camera.View) -> tuple[np.ndarray, np.ndarray]:
    """For each ray the number of the solid that it meets first, or -1, int8 [N], and how far away that is, float32 [N]."""
    eye = np.array(EYE, np.float32)[:, None]
    which = np.full(view.directions.shape[1], -1, np.int8)
    nearest = np.full(view.directions.shape[1], np.inf, np.float32)
    for number, solid in enumerate(scene.solids):
        near = np.flatnonzero(may_meet(solid, eye, view.directions))
        d = view.directions[:, near]
        away = distance(solid, np.broadcast_to(eye, d.shape), d)
        closer = away < nearest[near]
        which[near[closer]] = number
        nearest[near[closer]] = away[closer]
    return which, nearest


def _spread(rng: np.random.Generator, size: int) -> np.ndarray:
    """Where the shadow rays of each pixel begin, float32 [2, size * size] in 0 to 1.

    Neighbors differ as much as can be (M. Roberts' R2 sequence along rows and columns), so that soft shadows look even.
    """
    row, column = np.mgrid[:size, :size]
    places = [column * 0.7548776662 + row * 0.5698402910, column * 0.5698402910 + row * 0.7548776662]
    return np.stack([(place.ravel() + rng.random()) % 1 for place in places]).astype(np.float32)


def _light(scene: Scene, view: camera.View, rotation: np.ndarray) -> np.ndarray:
    """Linear light of every ray, float32 [3, N]."""
    stage = Stage(scene, light_of(scene.lamp))
    rotation = np.tile(rotation, view.samples)
    sample = np.repeat(np.arange(view.samples, dtype=np.float32), view.size * view.size)
    light = np.empty_like(view.directions)
    here = view.on_floor
    light[:, here] = floor_light(
        stage, view.floor, view.directions[:, here], view.level, rotation[:, here], sample[here], mirror=True
    )
    here = view.on_wall
    light[:, here] = wall_light(stage, view.wall, rotation[:, here], sample[here], primary=True)
    which, nearest = nearest_solid(scene, view)
    for number, solid in enumerate(scene.solids):
        here = np.flatnonzero(which == number)
        d = view.directions[:, here]
        p = np.array(EYE, np.float32)[:, None] + nearest[here] * d
        light[:, here] = solid_light(stage, solid, p, d, rotation[:, here], sample[here], mirror=True)
    return light


def _developed(light: np.ndarray, grains: np.ndarray) -> np.ndarray:
    """Exposure, vignette, noise of the sensor, a film's curve (K. Narkowicz' fit of ACES) and sRGB."""
    size = light.shape[0]
    across = ((np.arange(size, dtype=np.float32) + 0.5) / size * 2 - 1) ** 2
    vignette = 1 - np.float32(0.11) * (across[:, None] + across[None, :])
    x = light * np.float32(EXPOSURE) * vignette[..., None]
    x = (x * (2.51 * x + 0.03)) / (x * (2.43 * x + 0.59) + 0.14)
    x = np.clip(x, 0, 1) ** np.float32(1 / 2.2)
    x = x + grains * (np.float32(READ_NOISE) + np.float32(SHOT_NOISE) * (1 - x) * x * 2)
    return np.clip(np.rint(x * 255), 0, 255).astype(np.uint8)
