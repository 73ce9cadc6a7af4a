"""The light that leaves floor, wall, solids and lamp toward a ray, with one mirror bounce.

Points, directions and light (linear red, green, blue) are float32 [3, n]; `rotation` [2, n] spreads shadow rays.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import foot
from . import light as lighting
from .camera import WALL_Z
from .finish import finish_at
from .floors import floor_texture, plaster
from .light import LAMP_COLOR, RAYS, ROOM_COLOR, Light, dot
from .palette import BOARD, FLOOR_BOUNCE, GLOSS, WALLS, linear
from .scene import Scene, Solid
from .solids import bounding_sphere, distance
from .studio import LAMP_RADIANCE, lamp_seen, room_seen
from .texture import LEVELS, looked_up

SMOOTH, MOST = 0.04, 0.5
CREVICE = 0.6
COAT, COAT_POLISH, SATIN = 0.35, 90, 0.08


@dataclass(frozen=True)
class Stage:
    """A scene with its lamp made ready."""

    scene: Scene
    light: Light


def floor_light(
    stage: Stage,
    p: np.ndarray,
    d: np.ndarray,
    level: np.ndarray,
    rotation: np.ndarray,
    sample: np.ndarray,
    mirror: bool,
) -> np.ndarray:
    """What leaves the floor at points p against rays along d."""
    scene, light = stage.scene, stage.light
    cos, sin = np.float32(np.cos(scene.floor_turn)), np.float32(np.sin(scene.floor_turn))
    u = cos * p[0] - sin * p[2] + np.float32(scene.floor_shift[0])
    v = sin * p[0] + cos * p[2] + np.float32(scene.floor_shift[1])
    color, relief = looked_up(floor_texture(scene.floor), u, v, level)
    slope_x, slope_z = cos * relief[0] + sin * relief[1], cos * relief[1] - sin * relief[0]
    n = np.stack([-slope_x, np.ones_like(slope_x), -slope_z])
    n /= np.sqrt(dot(n, n))
    direct = light.falling_on(p, n) * _unshaded(stage, scene.solids, p, rotation, sample, mirror)
    room = 1 - np.float32(0.8) * lighting.occluded_corner(np.float32(WALL_Z) - p[2])
    for solid in scene.solids:
        hidden = lighting.occluded_floor(solid, p)
        room *= 1 - hidden
        direct *= 1 - np.float32(CREVICE) * hidden * hidden * hidden
    shine = color[:3] * (direct * LAMP_COLOR + room * ROOM_COLOR)
    if not mirror or not color[3].any():
        return shine
    facing = -d[1]
    share = color[3] * (np.float32(SMOOTH) + np.float32(0.8) * (1 - facing) ** 5)
    bounced = d - 2 * dot(d, n) * n
    bounced[1] = np.maximum(bounced[1], np.float32(1e-3))
    return shine * (1 - share) + share * mirrored(stage, p, bounced, rotation, sample)


def wall_light(stage: Stage, p: np.ndarray, rotation: np.ndarray, sample: np.ndarray, primary: bool) -> np.ndarray:
    """What leaves the wall at points p."""
    color, relief = looked_up(plaster(), p[0] + np.float32(9), p[1] + np.float32(9), np.full_like(p[0], 2))
    board = foot.board(p[1])
    relief = relief * (1 - board)
    n = np.stack([-relief[0], foot.slope(p[1]) - relief[1], -np.ones_like(relief[0])])
    n /= np.sqrt(dot(n, n))
    direct = stage.light.falling_on(p, n) * _unshaded(stage, stage.scene.solids, p, rotation, sample, primary)
    room = np.float32(0.9) - np.float32(0.7) * lighting.occluded_corner(np.maximum(p[1], 0))
    paint = color[0] * linear(WALLS[stage.scene.wall])
    paint = paint + board * (linear(BOARD) - paint)
    return paint * (1 - foot.hidden(p[1])) * (direct * LAMP_COLOR + room * ROOM_COLOR)


def solid_light(
    stage: Stage, solid: Solid, p: np.ndarray, d: np.ndarray, rotation: np.ndarray, sample: np.ndarray, mirror: bool
) -> np.ndarray:
    """What leaves a solid at points p of its surface against rays along d."""
    finish = finish_at(solid, p, stage.scene.floor == "grassy")
    # Rounded edges seen from behind are lit as if they were seen from the side.
    n = finish.normals - np.maximum(dot(d, finish.normals), 0) * d
    n /= np.sqrt(dot(n, n))
    start = p + n * np.float32(2e-3)
    polish = np.float32(COAT_POLISH if solid.material == "shiny" else 30)
    direct, gleam = _lamp_on(stage, p, start, n, d, polish, rotation, sample, RAYS if mirror else 1)
    body = finish.color * (direct * LAMP_COLOR + _room_on(stage, solid, p, n))
    if solid.material != "shiny":
        strength = np.float32(0 if solid.material == "matte" else SATIN)
        return body + np.where(finish.bare, gleam, 0) * LAMP_COLOR * strength
    body = body + np.where(finish.bare, gleam, 0) * LAMP_COLOR * np.float32(COAT)
    if not mirror:
        return body
    facing = np.clip(-dot(d, n), 0, 1)
    least = np.float32(GLOSS.get(solid.color, GLOSS["any"]))
    share = np.minimum(least + (1 - least) * (1 - facing) ** 5, np.float32(MOST))
    share = np.where(finish.bare, share, 0)
    bounced = d - 2 * dot(d, n) * n
    return body * (1 - share) + share * mirrored(stage, start, bounced, rotation, sample)


def mirrored(stage: Stage, p: np.ndarray, d: np.ndarray, rotation: np.ndarray, sample: np.ndarray) -> np.ndarray:
    """What a ray brings from the room after it has been mirrored at p into the unit direction d."""
    to_floor = np.where(d[1] < -1e-4, -p[1] / np.minimum(d[1], np.float32(-1e-4)), np.float32(np.inf))
    to_wall = np.where(
        d[2] > 1e-4, (np.float32(WALL_Z) - p[2]) / np.maximum(d[2], np.float32(1e-4)), np.float32(np.inf)
    )
    seen = room_seen(stage.light, p, d)
    nearest = np.minimum(to_floor, to_wall)
    for hit, is_floor in ((to_floor < to_wall, True), (to_wall < to_floor, False)):
        hit = np.flatnonzero(hit & (nearest < 12))
        q = p[:, hit] + nearest[hit] * d[:, hit]
        if is_floor:
            blur = (nearest[hit] + 1) / np.sqrt(np.maximum(-d[1, hit], np.float32(0.03)))
            level = np.clip(np.log2(blur) + 1, 0, LEVELS - 1.001)
            seen[:, hit] = floor_light(stage, q, d[:, hit], level, rotation[:, hit], sample[hit], mirror=False)
        else:
            seen[:, hit] = wall_light(stage, q, rotation[:, hit], sample[hit], primary=False)
    for solid in stage.scene.solids:
        near = np.flatnonzero(may_meet(solid, p, d))
        away = distance(solid, p[:, near], d[:, near])
        closer = away < nearest[near]
        hit = near[closer]
        nearest[hit] = away[closer]
        q = p[:, hit] + nearest[hit] * d[:, hit]
        seen[:, hit] = solid_light(stage, solid, q, d[:, hit], rotation[:, hit], sample[hit], mirror=False)
    return np.minimum(seen + lamp_seen(stage.light, p, d, nearest), np.float32(LAMP_RADIANCE))


def may_meet(solid: Solid, p: np.ndarray, d: np.ndarray) -> np.ndarray:
    """Where a ray from p along the unit direction d passes through the solid's bounding sphere, bool [n]."""
    center, radius = bounding_sphere(solid)
    to_center = center[:, None] - p
    ahead = dot(to_center, d)
    return (dot(to_center, to_center) - ahead * ahead < np.float32(radius**2)) & (ahead > -np.float32(radius))


def _lamp_on(
    stage: Stage,
    p: np.ndarray,
    start: np.ndarray,
    n: np.ndarray,
    d: np.ndarray,
    polish: np.float32,
    rotation: np.ndarray,
    sample: np.ndarray,
    rays: int,
) -> tuple[np.ndarray, np.ndarray]:
    """The lamp's light on a solid, and its blurred image there (J. Blinn's half vector, to the power `polish`), each [n]."""
    light = stage.light
    direct, gleam = np.zeros_like(p[0]), np.zeros_like(p[0])
    for number in range(rays):
        lamp_point = light.point_of(sample, number, rotation)
        to_lamp = lamp_point - p
        arriving = light.arriving(to_lamp, n) * lighting.seen_from(light, stage.scene.solids, start, lamp_point)
        direct += arriving
        half = to_lamp / np.sqrt(dot(to_lamp, to_lamp)) - d
        half /= np.sqrt(dot(half, half))
        gleam += arriving * np.maximum(dot(half, n), 0) ** polish
    return direct / np.float32(rays), gleam / np.float32(rays)


def _room_on(stage: Stage, solid: Solid, p: np.ndarray, n: np.ndarray) -> np.ndarray:
    """The light of the room and the floor's color on a solid, less of both near its foot, [3, n]."""
    above = np.float32(0.5) + np.float32(0.5) * n[1]
    lift = np.maximum(p[1], 0)
    open_below = lift / (lift + np.float32(0.3 * solid.radius))
    bounce = linear(FLOOR_BOUNCE[stage.scene.floor]) * (np.float32(0.7) * LAMP_COLOR + ROOM_COLOR) * open_below
    room = ROOM_COLOR * (np.float32(0.25) + np.float32(0.75) * above) * (np.float32(0.6) + np.float32(0.4) * open_below)
    return room + bounce * (1 - above) * np.float32(0.7)


def _unshaded(
    stage: Stage, solids: tuple[Solid, ...], p: np.ndarray, rotation: np.ndarray, sample: np.ndarray, fine: bool
) -> np.ndarray:
    """The share of the lamp that points of floor or wall see, float32 [n]."""
    share = np.ones(p.shape[1], np.float32)
    reached = np.zeros(p.shape[1], bool)
    for solid in solids:
        reached |= lighting.may_be_shaded(stage.light, solid, p)
    reached = np.flatnonzero(reached)
    q, turned, number = p[:, reached], rotation[:, reached], sample[reached]
    rays = RAYS if fine else 1
    total = np.zeros(len(reached), np.float32)
    for ray in range(rays):
        total += lighting.seen_from(stage.light, solids, q, stage.light.point_of(number, ray, turned))
    share[reached] = total / np.float32(rays)
    return share
