"""Textures of the floors, made once a process: reflectance and relief that repeat every `PERIOD` units."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np

from .texture import PERIOD, TEXELS, Texture, noise, texture_of


@cache
def floor_texture(floor: str) -> Texture:
    """The texture of one of the floors in the vocabulary."""
    rng = np.random.default_rng(len(floor) * 7 + ord(floor[0]))
    color, height, gloss = MAKERS[floor](rng)
    color = np.clip(color, 0.004, 0.95).astype(np.float32)
    reflectance = np.dstack([color, np.broadcast_to(gloss, height.shape).astype(np.float32)])
    return texture_of(reflectance, height)


@cache
def plaster() -> Texture:
    """The wall's texture, to be multiplied with its color: nearly even, with the tool's broad marks."""
    rng = np.random.default_rng(5)
    height = 0.003 * noise(rng, 16, 16) + 0.0014 * noise(rng, 64, 64) + 0.0004 * noise(rng, 256, 256)
    tone = 1 + 0.02 * noise(rng, 4, 4) + 0.015 * noise(rng, 16, 16) + 0.012 * noise(rng, 128, 128)
    return texture_of(np.dstack([tone] * 4).astype(np.float32), height)


@cache
def clay() -> Texture:
    """The grain of a matte solid, to be multiplied with its color."""
    rng = np.random.default_rng(6)
    fine = 0.6 * noise(rng, 256, 256) + 0.8 * noise(rng, 512, 512)
    height = 0.0004 * noise(rng, 64, 64) + 0.0004 * noise(rng, 128, 128) + 0.0003 * fine
    tone = 1 + 0.025 * noise(rng, 16, 16) + 0.03 * noise(rng, 64, 64) + 0.05 * fine
    return texture_of(np.dstack([tone] * 4).astype(np.float32), height)


def _grid() -> tuple[np.ndarray, np.ndarray]:
    """x and z of every texel in units, float32 [T, T]."""
    steps = (np.arange(TEXELS, dtype=np.float32) + 0.5) * (PERIOD / TEXELS)
    x, z = np.meshgrid(steps, steps)
    return x, z


def _mix(low: tuple[float, ...], high: tuple[float, ...], share: np.ndarray) -> np.ndarray:
    """From one sRGB color to another, as linear light."""
    share = np.clip(share, 0, 1)[..., None]
    return (np.array(low) / 255) ** 2.2 * (1 - share) + (np.array(high) / 255) ** 2.2 * share


def _wooden(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Oak boards: gaps, growth rings cut lengthwise, and pores, which are short dark strokes."""
    x, z = _grid()
    planks, ends = 11, 2
    width, length = PERIOD / planks, PERIOD / ends
    plank = np.floor(x / width).astype(int)
    starts = rng.uniform(0, length, planks)[plank]
    board = plank * ends + np.floor(((z + starts) % PERIOD) / length).astype(int)
    count = planks * ends
    tone, warm = rng.normal(0, 1, count)[board], rng.normal(0, 1, count)[board]
    core = rng.uniform(-0.6, 1.6, count)[board] * width
    bent = 0.05 * noise(rng, 16, 4) + 0.02 * noise(rng, 32, 8) + rng.uniform(0, 5, count)[board]
    rings = 0.5 + 0.5 * np.sin(2 * np.pi * (15 * np.hypot(x % width - core, 0.05) + 9 * bent))
    fibers = 0.6 * noise(rng, 512, 16) + 0.5 * noise(rng, 256, 8) + 0.4 * noise(rng, 64, 4)
    pores = cv2.GaussianBlur(rng.standard_normal(x.shape).astype(np.float32), (0, 0), 0.7, sigmaY=6.0)
    pores = np.clip(pores / pores.std() - 1.1, 0, 1) * (0.35 + 0.65 * rings)
    share = 0.62 + 0.12 * tone - 0.16 * rings**2 + 0.07 * fibers - 0.28 * pores
    color = _mix((88, 58, 36), (196, 154, 108), share) * (1 + 0.035 * warm[..., None] * np.array([1, 0, -1]))
    across = np.minimum(x % width, width - x % width)
    along = (z + starts) % length
    gap = np.minimum(across, np.minimum(along, length - along))
    seam = np.clip((gap - 0.005) / 0.006, 0.07, 1)
    height = 0.012 * np.clip(gap / 0.03, 0, 1) ** 0.5 + 0.0005 * fibers - 0.0008 * pores
    return color * seam[..., None], height, 0.4 * seam


def _tiled(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    x, z = _grid()
    count = 8
    side = PERIOD / count
    column, row = np.floor(x / side).astype(int), np.floor(z / side).astype(int)
    tone = rng.normal(0, 1, (count, count))[row, column]
    dark = (column + row) % 2
    clouds = 0.5 * noise(rng, 16, 16) + 0.35 * noise(rng, 32, 32) + 0.25 * noise(rng, 128, 128)
    veins = np.exp(-np.abs(noise(rng, 8, 8) + 0.3 * noise(rng, 32, 32)) * 9)
    light_tile = _mix((196, 186, 170), (236, 230, 220), 0.6 + 0.12 * tone + 0.16 * clouds - 0.35 * veins)
    dark_tile = _mix((52, 66, 78), (118, 134, 146), 0.4 + 0.14 * tone + 0.18 * clouds + 0.45 * veins)
    color = np.where(dark[..., None] == 1, dark_tile, light_tile)
    edge = np.minimum(np.minimum(x % side, side - x % side), np.minimum(z % side, side - z % side))
    tile = np.clip((edge - 0.009) / 0.006, 0, 1)
    grout = _mix((120, 114, 106), (160, 152, 142), 0.5 + 0.3 * noise(rng, 256, 256))
    color = grout + (color - grout) * tile[..., None]
    return color, 0.012 * np.clip((edge - 0.008) / 0.022, 0, 1), 1.0 * tile


def _grassy(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    canvas = np.full((TEXELS, TEXELS, 2), (0.25, 0.0), np.float32)
    clumps = noise(rng, 8, 8) + 0.6 * noise(rng, 32, 32)
    blades = 15000
    for number in range(blades):
        x, z = rng.uniform(0, TEXELS, 2)
        age = number / blades
        length, lean = rng.uniform(20, 44), rng.normal(0, 0.5)
        dx, dz = length * np.sin(lean), length * np.cos(lean)
        tone = 0.3 + 0.38 * age + 0.07 * rng.standard_normal() + 0.08 * clumps[int(z), int(x)]
        points = np.array([[0, 0], [0.45 * dx, 0.6 * dz], [dx, dz]])
        for left in (0, TEXELS) if x + abs(dx) > TEXELS or x - abs(dx) < 0 else (0,):
            for up in (0, TEXELS) if z + dz > TEXELS else (0,):
                shifted = points + (x - (left if x > 200 else -left), z - up)
                cv2.polylines(
                    canvas,
                    [np.rint(shifted * 8).astype(np.int32)],
                    False,
                    (float(tone), float(age), 0, 0),
                    3 if rng.random() < 0.6 else 2,
                    cv2.LINE_8,
                    3,
                )
    tone, height = canvas[..., 0] + 0.05 * noise(rng, 256, 256), canvas[..., 1]
    color = _mix((22, 44, 10), (128, 164, 58), tone)
    dry = np.clip(0.3 * clumps - 0.1, 0, 0.5)[..., None]
    color = color * (1 - dry) + _mix((40, 48, 14), (172, 168, 88), tone) * dry
    return color, 0.014 * cv2.GaussianBlur(height, (0, 0), 3.0), np.zeros_like(tone)


def _sandy(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    _, z = _grid()
    warp = 0.14 * noise(rng, 4, 8) + 0.05 * noise(rng, 16, 16) + 0.014 * noise(rng, 64, 64)
    phase = 2 * np.pi * (z + warp) * 20 / PERIOD
    ripple = 0.5 + 0.5 * np.sin(phase + 0.5 * np.sin(phase))
    strength = np.clip(0.75 + 0.3 * noise(rng, 4, 4), 0.25, 1.2)
    grain = rng.standard_normal((TEXELS, TEXELS)).astype(np.float32)
    speckle = cv2.GaussianBlur(grain, (0, 0), 0.8) * 2.2
    clouds = noise(rng, 8, 8) + 0.6 * noise(rng, 32, 32)
    color = _mix(
        (150, 116, 74), (228, 198, 150), 0.6 + 0.1 * speckle + 0.07 * clouds + 0.12 * (ripple - 0.5) * strength
    )
    dark = (cv2.GaussianBlur(rng.random((TEXELS, TEXELS)).astype(np.float32), (0, 0), 0.9) > 0.72)[..., None]
    color = np.where(dark, color * 0.55, color)
    return color, 0.035 * ripple * strength + 0.0022 * speckle + 0.004 * noise(rng, 64, 64), np.zeros_like(ripple)


def _stone(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    x, z = _grid()
    count = 6
    cell = PERIOD / count
    warp_x, warp_z = 0.02 * noise(rng, 32, 32), 0.02 * noise(rng, 32, 32)
    u, v = (x + warp_x) / cell, (z + warp_z) / cell
    jitter = rng.uniform(0.12, 0.88, (count, count, 2))
    column, row = np.floor(u).astype(int), np.floor(v).astype(int)
    nearest, second = np.full(u.shape, np.inf), np.full(u.shape, np.inf)
    slab = np.zeros(u.shape, int)
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            r, c = (row + down) % count, (column + right) % count
            distance = np.hypot(column + right + jitter[r, c, 0] - u, row + down + jitter[r, c, 1] - v)
            second = np.where(distance < nearest, nearest, np.minimum(second, distance))
            slab = np.where(distance < nearest, r * count + c, slab)
            nearest = np.minimum(nearest, distance)
    edge = (second - nearest) * cell
    tone = rng.normal(0, 1, count * count)[slab]
    warm = np.clip(0.5 + 0.35 * rng.normal(0, 1, count * count)[slab], 0, 1)[..., None]
    rough = (
        0.6 * noise(rng, 32, 32) + 0.45 * noise(rng, 64, 64) + 0.25 * noise(rng, 128, 128) + 0.15 * noise(rng, 512, 512)
    )
    share = 0.48 + 0.13 * tone + 0.12 * rough
    color = _mix((66, 68, 72), (168, 170, 172), share) * (1 - warm) + _mix((74, 66, 58), (176, 164, 148), share) * warm
    inside = np.clip((edge - 0.03) / 0.03, 0, 1)
    joint = _mix((46, 42, 34), (92, 86, 72), 0.5 + 0.25 * noise(rng, 256, 256))
    color = joint + (color - joint) * inside[..., None]
    return color, 0.035 * np.clip((edge - 0.02) / 0.09, 0, 1) ** 0.6 + 0.0025 * rough, np.zeros_like(edge)


MAKERS = {"wooden": _wooden, "tiled": _tiled, "grassy": _grassy, "sandy": _sandy, "stone": _stone}
