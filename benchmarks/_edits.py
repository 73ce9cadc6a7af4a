"""The edits of the editing benchmark: held-out scenes before and after, and the judges of the results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

MARGIN, PAINTED = 8, 6
REWEIGHTED = "reweighted"
KINDS = ("color", "shape", "background", "added", REWEIGHTED)


@dataclass(frozen=True)
class Case:
    """One edit: the scenes before and after, and the words of the local blend, those that change and those that stay."""

    kind: str
    source: Any
    target: Any
    blend: str
    subtract: str = ""


def make_cases(kind: str, count: int) -> list[Case]:
    """The first held-out scenes of a kind; a larger count starts with the scenes of a smaller one."""
    rng = np.random.default_rng([5, KINDS.index(kind)])
    return [_case(kind, rng) for _ in range(count)]


def _case(kind: str, rng: np.random.Generator) -> Case:
    import scenes

    scene = scenes.random_scene(rng, held_out=True, second_object=kind == "added")
    first = scene.objects[0]
    if kind == "added":
        second = scene.objects[1]
        if second.shape == first.shape:
            return _case(kind, rng)
        alone = scenes.Scene((first,), scene.background, scene.gradient, scene.angle)
        return Case(kind, alone, scene, second.shape, first.shape)
    if kind == "shape":
        shape = str(rng.choice([name for name in scenes.SHAPES if name != first.shape]))
        return Case(kind, scene, scene.with_object(shape=shape), f"{first.shape}, {shape}")
    if kind == REWEIGHTED:
        return Case(kind, scene, scene, first.shape) if first.size == "large" else _case(kind, rng)
    color = str(rng.choice([name for name in scenes.PALETTE if name not in (first.color, scene.background)]))
    if kind == "color":
        return Case(kind, scene, scene.with_object(color=color), first.shape)
    target = scenes.Scene(scene.objects, color, scene.gradient, scene.angle)
    case = Case(kind, scene, target, "", first.shape)
    # A small object would leave nothing to judge after shrinking.
    return case if kept_region(case).any() else _case(kind, rng)


def picture_of(scene: Any) -> Tensor:  # noqa: ANN401
    """The rendered scene, [1, 128, 128, 3]."""
    import scenes

    return torch.from_numpy(scenes.render(scene)[None]).float() / 255


def kept_region(case: Case) -> Tensor:
    """What must not change, [1, 128, 128] of 0 and 1; for an added object, this includes the original one."""
    import scenes

    if case.kind == "background":
        return 1 - _grown(~scenes.object_mask(case.source))
    if case.kind == "added":
        return 1 - _grown(scenes.object_mask(case.target, 1))
    return 1 - _grown(scenes.object_mask(case.source) | scenes.object_mask(case.target))


def painted_box(case: Case) -> Tensor:
    """The area a user would paint for the object to be added: a slightly larger box around it, [1, 128, 128] of 0 and 1."""
    import scenes

    added = scenes.object_mask(case.target, 1)
    rows, columns = (np.flatnonzero(added.any(axis)) for axis in (1, 0))
    box = np.zeros_like(added)
    box[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
    return _grown(box, PAINTED)


def new_words(case: Case) -> list[str]:
    """The target prompt's words for the new shape, or for the added object's color and shape."""
    new = case.target.objects[-1]
    return [new.shape] if case.kind == "shape" else [new.color, new.shape]


def kept_elsewhere(case: Case, picture: Tensor) -> Tensor:
    """`kept_region` minus the place where the added object appeared in the picture [128, 128, 3]: the prompt names no place."""
    kept = kept_region(case)
    return kept * (1 - _grown(_added_object(case, picture))) if case.kind == "added" else kept


def _grown(mask: np.ndarray, pixels: int = MARGIN) -> Tensor:
    import cv2

    brush = np.ones((2 * pixels + 1, 2 * pixels + 1), np.uint8)
    return torch.from_numpy(cv2.dilate(mask.astype(np.uint8), brush)[None].astype(np.float32))


def _added_object(case: Case, picture: Tensor) -> np.ndarray:
    """The largest region of the added object's color, bool [128, 128]."""
    return _region_of(case.target.objects[1].color, picture)


def _region_of(color: str, picture: Tensor) -> np.ndarray:
    import scenes
    from judge import largest_blob, nearest_colors

    return largest_blob(nearest_colors(_bytes(picture)) == list(scenes.PALETTE).index(color))


def _bytes(picture: Tensor) -> np.ndarray:
    return (picture * 255).round().clamp(0, 255).byte().numpy()


def succeeded(case: Case, picture: Tensor) -> bool:
    """Whether the picture [128, 128, 3] shows the requested attribute."""
    from judge import SMALLEST_AREA, judge

    if case.kind == "added":
        return int(_added_object(case, picture).sum()) >= SMALLEST_AREA
    wanted, verdict = case.target.objects[0], judge(_bytes(picture))
    shown = {"color": verdict.color, "shape": verdict.shape, "background": verdict.background}[case.kind]
    return shown == {"color": wanted.color, "shape": wanted.shape, "background": case.target.background}[case.kind]


def object_area(case: Case, picture: Tensor) -> int:
    """The size in pixels of the largest region in the first object's color."""
    return int(_region_of(case.source.objects[0].color, picture).sum())
