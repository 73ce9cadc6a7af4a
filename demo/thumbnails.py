"""Make the templates' thumbnails: each shows what its own template makes of a still life, in a real ComfyUI.

They are written to workflows/<template>.jpg. Numbers of templates as arguments make only those.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from api_graph import EditablePrompt, node, nodes
from PIL import Image, ImageDraw
from still_life import PHOTOS, photo
from template_runs import SIDE, Run, make_server, missing_files, pictures, prompt_of, write_photo
from tiny_models.photos import mask
from tiny_models.world.truth import object_mask

from batch.api import ComfyError
from batch.server import ComfyServer

FOLDER = Path(__file__).resolve().parent.parent / "workflows"
THUMBNAIL = 400
QUALITY = 88
LINE = 3
"""Pixels between before and after, and between the cells of a grid."""

RUNS = {
    run.template[0]: run
    for run in (
        Run("1 Edit a photo", "ball", side=512),
        Run("2 Change one word, keep the rest", "cone", PHOTOS["cone"].before.replace("blue", "red")),
        Run("3 Inpaint, keep the rest exact", "two cylinders", painted=True),
        Run("4 New pose or expression", "cube"),
        Run("5 New style", "ball and cylinder"),
        Run("6 Rebuild a photo in any sampler", "red cylinder"),
        Run("7 Invert, rebuild, edit", "yellow cube", PHOTOS["yellow cube"].before.replace("yellow", "red")),
        Run("9 Invert and edit, Flux", "cube and ball"),
    )
}
SHOWN = {"1": "Edited photo", "3": "Inpainted", "6": "Reconstruction", "9": "Edited photo"}
"""The title of the picture to show; of the others it is "Edit"."""

HINTS = "8 Many hints, one ControlNet"
HINTED = {
    "cube": "a photo of a large spotted red cube on a tiled floor, pink wall",
    "ball": "a photo of a large shiny yellow ball on a tiled floor, blue wall",
    "cone": "a photo of a small spotted orange cone on a stone floor, beige wall",
    "cube and ball": "a photo of a large shiny green ball and a small spotted red cube on a wooden floor, white wall",
}
"""The photos whose edges are hints, and what is drawn along them."""
CANNY = {
    "method": "canny", "method.low_threshold": 60, "method.high_threshold": 140, "method.aperture": 3, "method.l2_gradient": False,
}  # fmt: skip
"""The edges that the ControlNet was trained on."""


def split(before: Image.Image, after: Image.Image, at: float, side: int) -> Image.Image:
    """Left of `at` (0 to 1) what was before, right of it what comes after, a white line between."""
    before, after = (picture.resize((side, side), Image.Resampling.LANCZOS) for picture in (before, after))
    edge = round(at * side)
    after.paste(before.crop((0, 0, edge, side)), (0, 0))
    ImageDraw.Draw(after).rectangle((edge - LINE // 2, 0, edge - LINE // 2 + LINE - 1, side), fill="white")
    return after


def middle(run: Run) -> float:
    """The middle of the edited solid, across, from 0 to 1; that of the picture if the edit is about all of it."""
    edit = PHOTOS[run.photo]
    if run.after:
        solid = object_mask(edit.source, 0)
    elif edit.solid is not None:
        solid = mask(run.photo)
    else:
        return 0.5
    return middle_of(solid)


def middle_of(solid: np.ndarray) -> float:
    """The middle of a mask, across, from 0 to 1."""
    return float(np.nonzero(solid)[1].mean()) / len(solid)


def edited(server: ComfyServer, run: Run) -> Image.Image:
    """The photo and what the template makes of it."""
    (after, *_) = pictures(server, prompt_of(server, run))[SHOWN.get(run.template[0], "Edit")]
    return split(Image.fromarray(photo(run.photo, run.side)), after, middle(run), THUMBNAIL)


def hinted(server: ComfyServer) -> Image.Image:
    """A grid of edges and the pictures that follow them."""
    shown = pictures(server, hinted_prompt(server))
    cell = (THUMBNAIL - LINE) // 2
    grid = Image.new("RGB", (THUMBNAIL, THUMBNAIL), "white")
    rows = zip(HINTED, shown["Hints shown"], shown["Pictures shown"], strict=True)
    for index, (name, hint, picture) in enumerate(rows):
        place = (index % 2 * (THUMBNAIL - cell), index // 2 * (THUMBNAIL - cell))
        grid.paste(split(hint, picture, middle_of(mask(name)), cell), place)
    return grid


def hinted_prompt(server: ComfyServer) -> EditablePrompt:
    """The template with the edges of four photos in place of the poses."""
    first, *others = HINTED.values()
    settings = {
        "Four prompts": {"source_prompt": first, "target_prompts": "\n".join(others)},
        "Four empty latents": {"width": SIDE, "height": SIDE},
        "Negative prompt": {"text": ""},
        "Sample": {"steps": 30, "cfg": 5.0},
    }
    prompt = prompt_of(server, Run(HINTS, next(iter(HINTED)), settings=settings))
    batch = None
    for name in HINTED:
        prompt[name] = node("LoadImage", name, image=write_photo(Run(HINTS, name), server.base / "input"))
        if batch is None:
            batch = name
        else:
            prompt[f"{batch}, {name}"] = node("ImageBatch", name, image1=[batch, 0], image2=[name, 0])
            batch = f"{batch}, {name}"
    (poses,) = nodes(prompt, titled="Poses")
    (decode,) = nodes(prompt, titled="Decode")
    prompt[poses] = node("RetracePreprocessor", "Hints", image=[batch, 0], resolution=0, **CANNY)
    prompt["hints"] = node("PreviewImage", "Hints shown", images=[poses, 0])
    prompt["pictures"] = node("PreviewImage", "Pictures shown", images=[decode, 0])
    return prompt


def main() -> int:
    """Make the thumbnails and return the exit status."""
    parser = argparse.ArgumentParser(prog="dev.py pictures thumbnails", description=__doc__, allow_abbrev=False)
    known = sorted([*RUNS, HINTS[0]])
    parser.add_argument("numbers", nargs="*", metavar="NUMBER", help="default: all of them")
    numbers = parser.parse_args().numbers or known
    if unknown := sorted(set(numbers) - set(known)):
        parser.error(f"no template {', '.join(unknown)}")
    try:
        with make_server() as server:
            for number in numbers:
                template = RUNS[number].template if number in RUNS else HINTS
                if missing := missing_files(template):
                    print(f"{template}: kept, because there is no {', '.join(missing)}", flush=True)
                    continue
                started = time.monotonic()
                thumbnail = edited(server, RUNS[number]) if number in RUNS else hinted(server)
                thumbnail.save(FOLDER / f"{template}.jpg", quality=QUALITY, optimize=True)
                print(f"{template}: {time.monotonic() - started:.0f} s", flush=True)
    except ComfyError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
