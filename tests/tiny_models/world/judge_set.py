"""The pictures that the judge learns from and is measured on, with what it is to read in each.

It learns from the set that the models are trained on (dataset.py renders it), which has no held-out words, and from scenes with
held-out words: it measures and has to know every combination. It is measured on scenes of another seed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from . import camera
from .captions import words_of
from .render import render
from .scene import COLORS, FLOORS, MATERIALS, SHAPES, SIZES, WALLS, Scene, random_scene
from .solids import bounding_sphere

CHUNK = 50
MOST_SOLIDS = 2
EMPTY = 0.03
TRAINER_SEED, TRAINER_CHUNK = 0, 100


@dataclass(frozen=True)
class JudgeSet:
    """`pictures` uint8 [N, 256, 256, 3]; `ground` int64 [N, 2]: floor and wall; `solids` float32 [N, 2, 7].

    A solid is across and down (0 to 1), color, material, shape, size, and 1; zeros where there is none.
    """

    pictures: np.ndarray
    ground: np.ndarray
    solids: np.ndarray

    def __add__(self, other: JudgeSet) -> JudgeSet:
        return JudgeSet(
            np.concatenate([self.pictures, other.pictures]),
            np.concatenate([self.ground, other.ground]),
            np.concatenate([self.solids, other.solids]),
        )


def judge_scene(seed: int, number: int, held_out: bool) -> Scene:
    """Scene `number` of the set with or without held-out words; now and then an empty one."""
    rng = np.random.default_rng((seed, number, held_out))
    scene = random_scene(rng, held_out=held_out)
    return replace(scene, solids=()) if rng.random() < EMPTY else scene


def answers(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """What is to be read, as one row of `ground` and of `solids`."""
    solids = np.zeros((MOST_SOLIDS, 7), np.float32)
    for row, solid in enumerate(scene.solids):
        words = (COLORS.index(solid.color), MATERIALS.index(solid.material), SHAPES.index(solid.shape))
        center = camera.project(bounding_sphere(solid)[0])
        solids[row] = (*center, *words, list(SIZES).index(solid.size), 1)
    return np.array([FLOORS.index(scene.floor), WALLS.index(scene.wall)]), solids


def rendered_set(folder: Path, seed: int, count: int, held_out: bool) -> JudgeSet:
    """The first `count` pictures of a seed, with or without held-out words; chunks that `folder` lacks are rendered into it."""
    folder.mkdir(parents=True, exist_ok=True)
    scenes = [judge_scene(seed, number, held_out) for number in range(-(-count // CHUNK) * CHUNK)]
    chunks = []
    for start in range(0, count, CHUNK):
        file = folder / f"{'held_out' if held_out else 'others'}_{seed}_{start:05}.npy"
        if not file.exists():
            part = file.with_suffix(".part")
            with part.open("wb") as stream:
                rows = range(start, start + CHUNK)
                np.save(stream, np.stack([render(scenes[number], seed=number) for number in rows]))
            part.replace(file)
        chunks.append(np.load(file, mmap_mode="r"))
    ground, solids = zip(*map(answers, scenes[:count]), strict=True)
    return JudgeSet(np.concatenate(chunks)[:count], np.stack(ground), np.stack(solids))


def training_set(folder: Path, count: int) -> JudgeSet:
    """The first `count` pictures that the trainer rendered into `folder`; those that are no photographs are left out.

    Raises ValueError where a caption does not fit the scene that the trainer's seed gives.
    """
    pictures, ground, solids = [], [], []
    for start in range(0, count, TRAINER_CHUNK):
        name = f"{start // TRAINER_CHUNK:05}"
        rendered = np.load(folder / f"{name}.npy", mmap_mode="r")
        for row, text in enumerate(json.loads((folder / f"{name}.json").read_text("utf-8"))):
            scene = random_scene(np.random.default_rng((TRAINER_SEED, start + row)))
            said = words_of(text)
            phrases = tuple((solid.material, solid.color, solid.shape) for solid in scene.solids)
            if (said["floor"], said["wall"], *(each[1:] for each in said["solids"])) != (
                scene.floor,
                scene.wall,
                *phrases,
            ):
                raise ValueError(f"Picture {start + row} in {folder} shows another scene than its seed gives: {text}")
            if said["style"] == "photo":
                pictures.append(rendered[row])
                ground.append(answers(scene)[0])
                solids.append(answers(scene)[1])
    return JudgeSet(np.stack(pictures), np.stack(ground), np.stack(solids))
