"""The still lifes of the benchmarks: edits with everything that is known of both sides, and photographs to rebuild."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from tiny_models.world.edits import Edit
    from tiny_models.world.scene import Scene
    from tiny_models.world.truth import Truth

FULL, FEW = 40, 16
COUNTS = {
    "color": FULL, "material": FULL, "shape": FULL, "floor": FULL, "object added": FULL,
    "size": FEW, "wall": FEW, "object removed": FEW, "style": FEW, "lamp": FEW,
}  # fmt: skip
WHOLE = ("style", "lamp")
"""Kinds that change the whole picture: nothing is kept, and there is no ring."""
MARGIN = 8


@dataclass(frozen=True)
class Conditions:
    """Where the seeds of a set begin, the sensor's noise, and how much higher and nearer its lamps are."""

    first_seed: int
    grain: float = 1.0
    higher: float = 0.0
    nearer: float = 0.0


SETS = {"tuning": Conditions(0), "report": Conditions(10_000, grain=1.6, higher=0.5, nearer=0.4)}
"""Settings are chosen on the one and reported on the other."""


@dataclass(frozen=True)
class Case:
    """One edit with its pictures and masks."""

    edit: Edit
    truth: Truth

    @property
    def photo(self) -> Tensor:
        """What the camera saw, IMAGE [1, 256, 256, 3]."""
        return as_image(self.truth.source)

    @property
    def goal(self) -> Tensor:
        """What it would see after the change, IMAGE [1, 256, 256, 3]."""
        return as_image(self.truth.target)

    @cached_property
    def box(self) -> Tensor:
        """What a person would paint: a box around the object and its shadow, before and after, MASK [1, 256, 256]."""
        inside = self.truth.objects | self.truth.shadows
        if self.edit.kind in ("floor", "wall", *WHOLE):
            return torch.ones(1, *inside.shape)
        rows, columns = (np.flatnonzero(inside.any(axis)) for axis in (1, 0))
        box = np.zeros(inside.shape, np.uint8)
        box[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = 1
        brush = np.ones((2 * MARGIN + 1, 2 * MARGIN + 1), np.uint8)
        return torch.from_numpy(cv2.dilate(box, brush))[None].float()


def cases(
    kind: str, chosen: str, count: int | None = None, also: Callable[[Edit], Edit] = lambda edit: edit
) -> list[Case]:
    """The first edits of a kind in one of `SETS`; `also` changes more in them."""
    from tiny_models.world.edits import random_edit
    from tiny_models.world.truth import truth_of

    conditions = SETS[chosen]
    found = []
    for number in range(COUNTS[kind] if count is None else count):
        edit = also(random_edit(kind, conditions.first_seed + number))
        edit = replace(edit, source=_lit(edit.source, conditions), target=_lit(edit.target, conditions))
        found.append(Case(edit, truth_of(edit, grain=conditions.grain)))
    return found


def held_out(count: int, seed: int) -> tuple[list[str], Tensor]:
    """Captions of one object whose words were held out of the training, and their photographs, IMAGE [B, 256, 256, 3]."""
    from tiny_models.dataset import held_out_example

    examples = [held_out_example(seed)(index) for index in range(count)]
    return [caption for _, caption in examples], torch.cat([as_image(picture) for picture, _ in examples])


def as_image(picture: np.ndarray) -> Tensor:
    """uint8 [H, W, 3] -> IMAGE [1, H, W, 3]."""
    return torch.from_numpy(np.ascontiguousarray(picture))[None].float() / 255


def as_bytes(image: Tensor) -> np.ndarray:
    """IMAGE [1, H, W, 3] -> uint8 [H, W, 3]."""
    return (image[0].clamp(0, 1) * 255).round().byte().cpu().numpy()


def shown(case: Case, image: Tensor) -> dict[str, bool]:
    """For everything that the target's caption says, whether the judge reads it in an IMAGE.

    The keys are "floor", "wall", "count" and, for solid n, "n color" and so on. A solid that was added may stand anywhere.
    """
    from tiny_models.world.judge import ATTRIBUTES, judge

    verdict, target = judge(as_bytes(image)), case.edit.target
    found = {"floor": verdict.floor == target.floor, "wall": verdict.wall == target.wall}
    found["count"] = len(verdict.solids) == len(target.solids)
    places = [_place(target, number) for number in range(len(target.solids))]
    for number, solid in enumerate(target.solids):
        if case.edit.kind == "object added" and number == case.edit.solid:
            others = [verdict.nearest(*place) for place in places[:number]]
            left = [each for each in verdict.solids if each not in others]
            seen = max(left, key=lambda each: _alike(each, solid), default=None)
        else:
            seen = verdict.nearest(*places[number])
        for name in ATTRIBUTES:
            found[f"{number} {name}"] = seen is not None and getattr(seen, name) == getattr(solid, name)
    return found


def named(case: Case) -> list[str]:
    """The keys of `shown` that the change is about."""
    kind, solid = case.edit.kind, case.edit.solid
    if kind in WHOLE:
        return []
    if kind == "object added":
        return [f"{solid} {name}" for name in ("color", "material", "shape")]
    if kind == "object removed":
        return ["count"]
    return [kind] if solid is None else [f"{solid} {kind}"]


def kept_region(case: Case, image: Tensor) -> Tensor:
    """What must not change, MASK [1, 256, 256]; where an added object stands, as far as the judge finds it, is left out."""
    kept = torch.from_numpy(case.truth.kept)[None].float()
    if case.edit.kind == "object added":
        from tiny_models.world.judge import judge

        first = _place(case.edit.target, 0)
        rows, columns = np.mgrid[0:256, 0:256] / 256
        for solid in judge(as_bytes(image)).solids:
            if np.hypot(solid.x - first[0], solid.y - first[1]) > 0.15:
                near = np.hypot(columns - solid.x, (rows - solid.y) * 1.2) < (0.3 if solid.size == "large" else 0.2)
                kept = kept * torch.from_numpy(~near)[None].float()
    return kept


def _place(scene: Scene, number: int) -> tuple[float, float]:
    from tiny_models.world import camera
    from tiny_models.world.solids import bounding_sphere

    return camera.project(bounding_sphere(scene.solids[number])[0])


def _alike(found: Any, solid: Any) -> int:  # noqa: ANN401  (a FoundSolid and a Solid)
    return sum(getattr(found, name) == getattr(solid, name) for name in ("color", "material", "shape"))


def _lit(scene: Scene, conditions: Conditions) -> Scene:
    lamp = scene.lamp
    return replace(scene, lamp=replace(lamp, y=lamp.y + conditions.higher, z=lamp.z - conditions.nearer))
