"""Plots as images, drawn with Pillow."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..samplers.path import Path, RectifiedFlow
from ..samplers.schedule import Schedule

WIDTH, PANEL, MARGIN = 768, 300, 56
PAPER, INK, FAINT, CURVE, DOT = (250, 250, 248), (40, 40, 44), (205, 205, 205), (36, 96, 180), (214, 80, 40)
SMALLEST_LOSS = 1e-12


def schedule_plot(sigma_table: Tensor, schedule: Schedule, path: Path) -> Tensor:
    """The weight of the image in a unit-variance state, and sigma (logarithmic), of every timestep with the schedule's steps as
    dots, float32 [1, H, W, 3]."""
    canvas = Image.new("RGB", (WIDTH, 2 * PANEL), PAPER)
    draw = ImageDraw.Draw(canvas)
    signal = path.to_unit(path.a(sigma_table), sigma_table).tolist()
    weight = "1 - sigma" if isinstance(path, RectifiedFlow) else "sqrt(alpha bar)"
    noise = sigma_table.tolist()
    last = len(noise) - 1
    end = "sigma 0" if schedule.terminal == "clean" else "the first level"
    title = f"{schedule.steps} steps, {schedule.spacing}, ends at {end}"
    _panel(draw, 0, f"signal: {weight}      {title}", signal, schedule.timesteps, last, lambda value: value)
    floor, ceiling = math.log(noise[0]), math.log(noise[-1])
    _panel(
        draw,
        PANEL,
        f"noise: sigma, {noise[0]:.4f} to {noise[-1]:.4g} (logarithmic)",
        noise,
        schedule.timesteps,
        last,
        lambda value: (math.log(value) - floor) / (ceiling - floor),
    )
    return torch.from_numpy(np.asarray(canvas, np.float32) / 255).unsqueeze(0)


def loss_plot(losses: Sequence[Sequence[float]], thresholds: Sequence[float], title: str) -> Tensor:
    """The loss of each step before its first inner step and at its best, and the early-stopping threshold (all log scale).

    Args:
        losses: for each of N steps, its losses, at least one.
        thresholds: N values.
        title: drawn above the plot.

    Returns:
        float32 [1, H, W, 3].
    """
    canvas = Image.new("RGB", (WIDTH, PANEL), PAPER)
    draw = ImageDraw.Draw(canvas)
    left, right, upper, lower = MARGIN, WIDTH - MARGIN // 2, 40, PANEL - 36
    curves = (
        ("before", [row[0] for row in losses], FAINT),
        ("may stop", list(thresholds), DOT),
        ("best", [min(row) for row in losses], CURVE),
    )
    logs = [math.log10(max(value, SMALLEST_LOSS)) for _, values, _ in curves for value in values]
    floor, ceiling = math.floor(min(logs)), math.floor(max(logs)) + 1
    font = ImageFont.load_default(14)
    draw.text((left, 12), title, INK, font)
    for power in range(floor, ceiling + 1):
        down = lower - (lower - upper) * (power - floor) / (ceiling - floor)
        draw.line([(left, down), (right, down)], FAINT)
        draw.text((left - 6, down), f"1e{power}", INK, font, anchor="rm")
    for place, (name, values, color) in enumerate(curves):
        points = [
            (
                left + (right - left) * index / max(1, len(values) - 1),
                lower - (lower - upper) * (math.log10(max(value, SMALLEST_LOSS)) - floor) / (ceiling - floor),
            )
            for index, value in enumerate(values)
        ]
        draw.line(points, color, 2)
        draw.text((right - 230 + 80 * place, lower + 10), name, INK if color == FAINT else color, font)
    draw.text((left, lower + 10), f"step 0 (noise) to {len(losses) - 1} (image)", INK, font)
    draw.rectangle([left, upper, right, lower], outline=INK)
    return torch.from_numpy(np.asarray(canvas, np.float32) / 255).unsqueeze(0)


def _panel(
    draw: ImageDraw.ImageDraw,
    top: int,
    title: str,
    values: list[float],
    marked: Iterable[int],
    last: int,
    height_of: Callable[[float], float],
) -> None:
    """One curve over the timesteps 0..last; `height_of` maps a value to 0 (bottom)..1 (top)."""
    left, right, upper, lower = MARGIN, WIDTH - MARGIN // 2, top + 40, top + PANEL - 36

    def point(timestep: int) -> tuple[float, float]:
        across = left + (right - left) * timestep / last
        return across, lower - (lower - upper) * height_of(values[timestep])

    font = ImageFont.load_default(14)
    draw.text((left, top + 12), title, INK, font)
    for tick in range(0, last + 2, max(1, (last + 1) // 5)):
        across = left + (right - left) * min(tick, last) / last
        draw.line([(across, upper), (across, lower)], FAINT)
        draw.text((across, lower + 8), str(min(tick, last)), INK, font, anchor="ma")
    draw.rectangle([left, upper, right, lower], outline=INK)
    draw.line([point(timestep) for timestep in range(last + 1)], CURVE, 2)
    for timestep in marked:
        across, down = point(timestep)
        draw.ellipse([across - 3, down - 3, across + 3, down + 3], DOT)
