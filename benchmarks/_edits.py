"""The edits of the editing benchmark: held-out scenes before and after, and what their pictures are judged by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

MARGIN = 8
KINDS = ("colour", "shape", "background", "added")
REWEIGHTED = "reweighted"


@dataclass(frozen=True)
class Case:
    """One edit: the scenes before and after, and the words of the local blend."""

    kind: str
    source: Any
    target: Any
    blend: str
    subtract: str = ""


def make_cases(kind: str, count: int) -> list[Case]:
    """The first held-out scenes of a kind; a larger count begins with those of a smaller one."""
    rng = np.random.default_rng([5, (*KINDS, REWEIGHTED).index(kind)])
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
        return Case(kind, alone, scene, second.shape)
    if kind == "shape":
        shape = str(rng.choice([name for name in scenes.SHAPES if name != first.shape]))
        return Case(kind, scene, scene.with_object(shape=shape), f"{first.shape}, {shape}")
    if kind == REWEIGHTED:
        return Case(kind, scene, scene, first.shape)
    colour = str(rng.choice([name for name in scenes.PALETTE if name not in (first.colour, scene.background)]))
    if kind == "colour":
        return Case(kind, scene, scene.with_object(colour=colour), first.shape)
    target = scenes.Scene(scene.objects, colour, scene.gradient, scene.angle)
    case = Case(kind, scene, target, "background", first.shape)
    # Of a small object nothing is left to judge when it is shrunk.
    return case if kept_region(case).any() else _case(kind, rng)


def picture_of(scene: Any) -> Tensor:  # noqa: ANN401
    """The rendered scene, [1, 128, 128, 3]."""
    import scenes

    return torch.from_numpy(scenes.render(scene)[None]).float() / 255


def kept_region(case: Case) -> Tensor:
    """What must stay, [1, 128, 128] of 0 and 1."""
    import cv2
    import scenes

    masks = [scenes.object_mask(scene, at) for scene in (case.source, case.target) for at in range(len(scene.objects))]
    brush = np.ones((2 * MARGIN + 1, 2 * MARGIN + 1), np.uint8)
    if case.kind == "background":
        kept = cv2.erode(masks[0].astype(np.uint8), brush)
    else:
        if case.kind == "added":  # the first object is not edited either
            masks = [scenes.object_mask(case.target, 1)]
        kept = 1 - cv2.dilate(np.any(masks, axis=0).astype(np.uint8), brush)
    return torch.from_numpy(kept[None].astype(np.float32))


def succeeded(case: Case, picture: Tensor) -> bool:
    """Whether the picture [128, 128, 3] shows the wanted attribute."""
    import scenes
    from judge import SMALLEST_AREA, judge, largest_blob, nearest_colours

    pixels = (picture * 255).round().clamp(0, 255).byte().numpy()
    wanted = case.target.objects[-1]
    if case.kind == "added":
        of_colour = nearest_colours(pixels) == list(scenes.PALETTE).index(wanted.colour)
        return int(largest_blob(of_colour).sum()) >= SMALLEST_AREA
    verdict = judge(pixels)
    shown = {"colour": verdict.colour, "shape": verdict.shape, "background": verdict.background}[case.kind]
    return shown == {"colour": wanted.colour, "shape": wanted.shape, "background": case.target.background}[case.kind]


def saturation(picture: Tensor, scene: Any) -> float:  # noqa: ANN401
    """Mean of (max - min) over the channels, within the object."""
    import scenes

    inside = picture[torch.from_numpy(scenes.object_mask(scene))]
    return float((inside.amax(-1) - inside.amin(-1)).mean())
