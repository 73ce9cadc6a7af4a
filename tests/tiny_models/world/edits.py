"""Edits whose truth is known: the same scene with one thing changed, and the prompts before and after."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from .captions import caption
from .scene import (
    COLORS,
    FLOORS,
    MATERIALS,
    SHAPES,
    SIZES,
    STYLES,
    TURNS,
    WALLS,
    Scene,
    Solid,
    is_held_out,
    random_lamp,
    random_scene,
    random_solid,
    stand_clear,
)


@dataclass(frozen=True)
class Edit:
    """A scene before and after one change. `solid` is the number of the solid that the change is about, None for none.

    Both are rendered with `seed`, so that what the change does not reach stays the same, bit for bit.
    """

    kind: str
    source: Scene
    target: Scene
    solid: int | None
    seed: int

    @property
    def before(self) -> str:
        """The caption of the source."""
        return caption(self.source, lamp=self.kind == "lamp")

    @property
    def after(self) -> str:
        """The caption of the target."""
        return caption(self.target, lamp=self.kind == "lamp")

    @property
    def words(self) -> tuple[str, str]:
        """The words in which `before` and `after` differ, from the first to the last of them."""
        before, after = self.before.replace(",", "").split(), self.after.replace(",", "").split()
        while before and after and before[0] == after[0]:
            before, after = before[1:], after[1:]
        while before and after and before[-1] == after[-1]:
            before, after = before[:-1], after[:-1]
        return " ".join(before), " ".join(after)


def random_edit(kind: str, seed: int) -> Edit:
    """An edit of one of `KINDS`, between words that the training set has."""
    rng = np.random.default_rng((list(KINDS).index(kind), seed))
    while True:
        source, target, solid = KINDS[kind](rng)
        scenes = (source, target)
        if all(stand_clear(scene.solids) and _in_words(scene) for scene in scenes) and source != target:
            return Edit(kind, source, target, solid, seed)


def _of_solid(field: str) -> Callable[[np.random.Generator], tuple[Scene, Scene, int]]:
    """Another word for one solid; where it gets another shape, it turns so that the shape can be told."""

    def change(rng: np.random.Generator) -> tuple[Scene, Scene, int]:
        source = random_scene(rng)
        number = int(rng.integers(len(source.solids)))
        solid = source.solids[number]
        taken = (
            {source.wall, *(other.color for other in source.solids)} if field == "color" else {getattr(solid, field)}
        )
        words = {"color": COLORS, "material": MATERIALS, "shape": SHAPES}[field]
        word = str(rng.choice([word for word in words if word not in taken]))
        target = source.with_solid(number, **{field: word})
        if field == "shape":
            low, high = TURNS.get(word, (-np.pi, np.pi))
            if not low <= solid.turn <= high:
                target = target.with_solid(number, turn=float(rng.uniform(low, high)))
        return source, target, number

    return change


def _size(rng: np.random.Generator) -> tuple[Scene, Scene, int]:
    source = random_scene(rng, objects=1)
    size = next(size for size in SIZES if size != source.solids[0].size)
    radius = float(rng.uniform(*SIZES[size]))
    reach = 1.25 - radius
    x = source.solids[0].x
    return source, (source if abs(x) > reach else source.with_solid(size=size, radius=radius)), 0


def _ground(field: str, words: tuple[str, ...]) -> Callable[[np.random.Generator], tuple[Scene, Scene, None]]:
    def change(rng: np.random.Generator) -> tuple[Scene, Scene, None]:
        source = random_scene(rng)
        taken = {getattr(source, field), *(solid.color for solid in source.solids)}
        word = str(rng.choice([word for word in words if word not in taken]))
        return source, replace(source, **{field: word}), None

    return change


def _added(rng: np.random.Generator) -> tuple[Scene, Scene, int]:
    source = random_scene(rng, objects=1)
    colors = [color for color in COLORS if color not in (source.wall, source.solids[0].color)]
    solid = random_solid(rng, str(rng.choice(colors)), objects=2)
    both = (*source.solids, solid)
    return source, (replace(source, solids=both) if _larger_first(both) else source), 1


def _removed(rng: np.random.Generator) -> tuple[Scene, Scene, int]:
    source = random_scene(rng, objects=2)
    return source, replace(source, solids=source.solids[:1]), 1


def _style(rng: np.random.Generator) -> tuple[Scene, Scene, None]:
    source = random_scene(rng)
    return source, replace(source, style=str(rng.choice(STYLES[1:]))), None


def _lamp(rng: np.random.Generator) -> tuple[Scene, Scene, None]:
    source = random_scene(rng)
    other = "left" if source.lamp.side == "right" else "right"
    return source, replace(source, lamp=random_lamp(rng, other)), None


def _larger_first(solids: tuple[Solid, ...]) -> bool:
    return solids[0].radius >= solids[-1].radius


def _in_words(scene: Scene) -> bool:
    return not any(is_held_out(solid, scene.floor) for solid in scene.solids)


KINDS: dict[str, Callable[[np.random.Generator], tuple[Scene, Scene, int | None]]] = {
    "color": _of_solid("color"),
    "material": _of_solid("material"),
    "shape": _of_solid("shape"),
    "size": _size,
    "floor": _ground("floor", FLOORS),
    "wall": _ground("wall", WALLS),
    "object added": _added,
    "object removed": _removed,
    "style": _style,
    "lamp": _lamp,
}
