"""The training set: pictures of random scenes with captions, rendered in chunks, so that an interrupted run can resume.

Scene i depends only on the seed and on i, so a set of any size is the beginning of a larger one.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

CHUNK = 100
CELLS, SAMPLES = 32, 16
Example = Callable[[int], tuple[np.ndarray, str]]
"""Index of a scene -> its picture, uint8 [H, W, 3], and its caption."""


@dataclass(frozen=True)
class Pictures:
    """Rendered chunks, memory-mapped; `captions` has one line per picture."""

    chunks: list[np.ndarray]
    captions: list[str]

    def __len__(self) -> int:
        return len(self.captions)

    def __add__(self, other: Pictures) -> Pictures:
        return Pictures(self.chunks + other.chunks, self.captions + other.captions)

    def __getitem__(self, index: int) -> np.ndarray:
        """Picture `index`, uint8 [H, W, 3]."""
        return self.chunks[index // CHUNK][index % CHUNK]


def render_set(folder: Path, count: int, example: Example, workers: int, report: Callable[[str], None]) -> None:
    """Render the chunks of the first `count` scenes that are missing in `folder`; `count` is rounded up to whole chunks."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = [number for number in range(-(-count // CHUNK)) if not _captions_file(folder, number).exists()]
    with ProcessPoolExecutor(workers) as pool:
        tasks = [pool.submit(render_chunk, folder, number, example) for number in missing]
        for done, task in enumerate(as_completed(tasks), 1):
            task.result()
            report(f"{folder.name}: {done} of {len(missing)} chunks of {CHUNK} pictures rendered")


def render_chunk(folder: Path, number: int, example: Example) -> None:
    """Write the pictures, then the captions, whose file marks the chunk as complete."""
    examples = [example(index) for index in range(number * CHUNK, (number + 1) * CHUNK)]
    part = folder / f"{number:05}.part.npy"
    np.save(part, np.stack([picture for picture, _ in examples]))
    part.replace(_pictures_file(folder, number))
    part = folder / f"{number:05}.part.json"
    part.write_text(json.dumps([caption for _, caption in examples], indent=0), encoding="utf-8")
    part.replace(_captions_file(folder, number))


def load(folder: Path, count: int) -> Pictures:
    """The first `count` pictures (a chunk counts as a whole)."""
    numbers = range(-(-count // CHUNK))
    captions = [line for number in numbers for line in json.loads(_captions_file(folder, number).read_text("utf-8"))]
    return Pictures([np.load(_pictures_file(folder, number), mmap_mode="r") for number in numbers], captions)


def training_example(seed: int) -> Example:
    """Scenes of one or two objects, without held-out words."""
    return partial(_example, seed, None, False)


def held_out_example(seed: int) -> Example:
    """Scenes of one object with held-out words, in the plain wording and as photographs."""
    return partial(_example, seed, 1, True)


def styled_example(pictures: Path) -> Example:
    """The photographs in the folder `pictures` in the other styles, in turn; the rest of scene and caption is unchanged."""
    return partial(_styled, pictures)


def solids_example(seed: int) -> Example:
    """Where the solids of `training_example` are: uint8 [32, 32], not zero in the cells of the latents that show one."""
    return partial(_solids, seed)


def _solids(seed: int, index: int) -> tuple[np.ndarray, str]:
    from .world import camera, captions, render, scene

    chosen = scene.random_scene(np.random.default_rng((seed, index)))
    which, _ = render.nearest_solid(chosen, camera.view(CELLS, SAMPLES))
    return (which >= 0).reshape(SAMPLES, CELLS, CELLS).any(0).astype(np.uint8), captions.caption(chosen)


def _styled(pictures: Path, index: int) -> tuple[np.ndarray, str]:
    from .world import captions, scene, styles

    style = [style for style in scene.STYLES if style != "photo"][index % (len(scene.STYLES) - 1)]
    number, place = divmod(index, CHUNK)
    photo = np.load(_pictures_file(pictures, number), mmap_mode="r")[place]
    caption = json.loads(_captions_file(pictures, number).read_text("utf-8"))[place]
    words = caption.replace(captions.OPENINGS["photo"], captions.OPENINGS[style], 1)
    return styles.stylized(np.ascontiguousarray(photo), style), words


def _example(seed: int, objects: int | None, held_out: bool, index: int) -> tuple[np.ndarray, str]:
    from .world import captions, render, scene  # each worker imports it once

    rng = np.random.default_rng((seed, index))
    chosen = scene.random_scene(rng, objects, held_out)
    words = captions.caption(chosen, None if held_out else rng)
    return render.render(chosen, seed=int(rng.integers(2**31))), words


def _pictures_file(folder: Path, number: int) -> Path:
    return folder / f"{number:05}.npy"


def _captions_file(folder: Path, number: int) -> Path:
    return folder / f"{number:05}.json"
