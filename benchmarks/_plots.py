"""Plots of the benchmarks' figures, written as SVG or PNG by the file's suffix."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter, StrMethodFormatter

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Told apart by color-blind people as well (Okabe and Ito)."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
GRAY = "#8c8c8c"
CLOSE = 11
"""Marks nearer than this (1/72 inch) share one label: two digits are as wide."""
DOTS_PER_INCH = 150
Place = tuple[float, float]


@dataclass(frozen=True)
class Mark:
    """A way to edit at one kind: the share that succeeds (0 to 1), and PSNR of what is kept, in dB."""

    kind: str
    way: str
    success: float
    kept: float


def growth(measures: Mapping[str, Mapping[str, Mapping[str, Sequence[Place]]]], path: Path) -> None:
    """A row for each measure, in it a panel for each quantity that grows: contender -> its points (quantity, measure)."""
    quantities = list(next(iter(measures.values())))
    figure = Figure((3.3 * len(quantities), 2.5 * len(measures) + 0.8), layout="constrained")
    grid = figure.subplots(len(measures), len(quantities), squeeze=False, sharex="col")
    for row, (measure, panels) in zip(grid, measures.items(), strict=True):
        for axes, lines in zip(row, panels.values(), strict=True):
            for color, marker, (name, points) in zip(COLORS, MARKERS, lines.items(), strict=False):
                axes.plot(
                    *zip(*points, strict=True), color=color, marker=marker, markersize=4, linewidth=1.2, label=name
                )
            axes.set_xticks([place for place, _ in next(iter(lines.values()))])
            axes.set_ylim(bottom=0)
            _quiet(axes)
        row[0].set_ylabel(measure)
    for axes, quantity in zip(grid[-1], quantities, strict=True):
        axes.set_xlabel(quantity)
    handles = grid[0][0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    figure.savefig(path, dpi=DOTS_PER_INCH)


def fidelity(tables: Mapping[str, Mapping[str, Place]], path: Path) -> None:
    """A panel for each checkpoint: method -> (network work, PSNR in dB). Methods are numbered in their order, and listed beside."""
    figure = Figure((3.6 * len(tables) + 2.9, 4.2), layout="constrained")
    panels = figure.subplots(1, len(tables) + 1, width_ratios=[1.25] * len(tables) + [1])
    names = list(dict.fromkeys(name for methods in tables.values() for name in methods))
    for axes, (checkpoint, methods) in zip(panels, tables.items(), strict=False):
        axes.set_xscale("log")
        axes.scatter(*zip(*methods.values(), strict=True), color=COLORS[0], s=22, zorder=3)
        axes.margins(x=0.12, y=0.1)
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xticks([50 * 2**power for power in range(_octaves(methods.values()))])
        axes.set_title(checkpoint)
        axes.set_xlabel("network work (forward 1, backward 2)")
        _quiet(axes)
    panels[0].set_ylabel("PSNR to the VAE's round trip, dB")
    panels[-1].axis("off")
    listed = "\n".join(f"{number}  {name}" for number, name in enumerate(names, 1))
    panels[-1].text(0, 1, listed, va="top", fontsize=8.5, linespacing=1.5)
    figure.draw_without_rendering()  # only now are the limits of the axes final
    for axes, methods in zip(panels, tables.values(), strict=False):
        numbered = {names.index(name) + 1: place for name, place in methods.items()}
        for numbers in stacks(axes, numbered):
            works, decibels = zip(*(numbered[number] for number in numbers), strict=True)
            above = max(decibels) < sum(axes.get_ylim()) / 2
            style = {"ha": "center", "va": "bottom" if above else "top", "fontsize": 8.5, "linespacing": 1.1}
            place = math.sqrt(min(works) * max(works)), max(decibels) if above else min(decibels)
            offset = (0, 5 if above else -5)
            axes.annotate("\n".join(map(str, numbers)), place, offset, textcoords="offset points", **style)
    figure.savefig(path, dpi=DOTS_PER_INCH)


def stacks(axes: Axes, numbered: Mapping[int, Place]) -> list[list[int]]:
    """The numbers that share a label, because their marks are too close for a label each."""
    groups: list[list[int]] = []
    near = CLOSE * axes.get_figure(root=True).dpi / 72  # pyright: ignore[reportOptionalMemberAccess]
    where = {number: axes.transData.transform(place) for number, place in numbered.items()}
    for number in numbered:
        shared = next((group for group in groups if math.dist(where[number], where[group[0]]) < near), None)
        if shared is None:
            groups.append([number])
        else:
            shared.append(number)
    return groups


def success(marks: Sequence[Mark], baseline: str, path: Path) -> None:
    """A panel for each kind, in it a mark for each way; ways whose names begin with `baseline` form a gray line of hollow marks."""
    kinds = list(dict.fromkeys(mark.kind for mark in marks))
    ways = [way for way in dict.fromkeys(mark.way for mark in marks) if not way.startswith(baseline)]
    columns = min(4, len(kinds))
    figure = Figure((max(5, 2.5 * columns), 2.4 * math.ceil(len(kinds) / columns) + 0.7), layout="constrained")
    panels = figure.subplots(math.ceil(len(kinds) / columns), columns, sharex=True, sharey=True, squeeze=False)
    for axes in panels.flat[len(kinds) :]:
        axes.axis("off")
    for axes, kind in zip(panels.flat, kinds, strict=False):
        line = [
            (100 * mark.success, mark.kept) for mark in marks if mark.kind == kind and mark.way.startswith(baseline)
        ]
        if line:
            axes.plot(
                *zip(*line, strict=True), color=GRAY, marker="o", markersize=4, markerfacecolor="white", linewidth=1
            )
        for mark in marks:
            if mark.kind == kind and mark.way in ways:
                look = ways.index(mark.way)
                axes.scatter(100 * mark.success, mark.kept, color=COLORS[look], marker=MARKERS[look], s=34, zorder=3)
        axes.set_title(kind, fontsize=10)
        axes.set_xlim(-6, 106)
        _quiet(axes)
    for axes in panels[-1]:
        axes.set_xlabel("edits that succeed, %", fontsize=9)
    figure.supylabel("what is kept: PSNR, dB", fontsize=10)
    looks = [
        Line2D([], [], color=color, marker=marker, linestyle="", label=way)
        for way, color, marker in zip(ways, COLORS, MARKERS, strict=False)
    ]
    looks.append(Line2D([], [], color=GRAY, marker="o", markerfacecolor="white", label=baseline))
    figure.legend(handles=looks, loc="outside lower center", ncols=max(2, columns), frameon=False, fontsize=9)
    figure.savefig(path, dpi=DOTS_PER_INCH)


def _octaves(places: Iterable[Place]) -> int:
    return math.ceil(math.log2(max(work for work, _ in places) / 50)) + 1


def _quiet(axes: Axes) -> None:
    axes.grid(color="#e6e6e6", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8.5)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
