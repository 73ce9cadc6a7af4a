"""The shipped edit beside img2img at equal success, both measured against the truth, which a rendered photo has.

Equal success: img2img begins at the latest step at which the edited solid has the new color. A later start keeps more of the
photo, but leaves the color as it was. The network that judges the benchmarks' edits reads the colors.
"""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import batch_package  # noqa: F401  (for `batch`)
import numpy as np
from api_graph import EditablePrompt, fill_in, node, nodes
from PIL import Image
from still_life import PHOTOS
from tiny_models.photos import mask
from tiny_models.world.render import render

from batch.api import Result
from batch.server import ComfyServer

NAME = "ball"
EDIT, IMG2IMG = "Edit", "Img2img"
SAMPLER = "Img2img at the same start step"
START_STEPS = range(44, -1, -4)
"""Of 50 steps, the latest first."""


def add_truth(prompt: EditablePrompt, folder: Path, side: int) -> None:
    """Render what the edit should show into ComfyUI's input folder, and compare edit and img2img with it.

    It goes through the VAE first: nothing that the VAE decodes can come closer to the truth than its round trip.
    """
    edit = PHOTOS[NAME]
    Image.fromarray(render(edit.target, side, seed=edit.seed)).save(folder / f"{NAME} truth.png")
    (encode,) = nodes(prompt, titled="Encode")
    vae = prompt[encode]["inputs"]["vae"]
    prompt["truth"] = node("LoadImage", "The truth", image=f"{NAME} truth.png")
    prompt["truth latent"] = node("VAEEncode", "Encode the truth", pixels=["truth", 0], vae=vae)
    prompt["truth decoded"] = node("VAEDecode", "Decode the truth", samples=["truth latent", 0], vae=vae)
    for shown in (EDIT, IMG2IMG):
        (save,) = nodes(prompt, class_type="SaveImage", titled=shown)
        pictures = {"image_a": prompt[save]["inputs"]["images"], "image_b": ["truth decoded", 0]}
        title = f"{shown} against the truth"
        prompt[title] = node("RetraceCompareImages", title, **pictures, region="all", brightest_at=0.25)


def at_equal_success(server: ComfyServer, prompt: EditablePrompt, result: Result) -> tuple[Result, str]:
    """Run the prompt with other start steps of img2img until it has the edit's color.

    Returns the result with what the edit gave before, and a sentence.
    """
    wanted = PHOTOS[NAME].target.solids[0].color
    (sampler,) = nodes(prompt, titled=SAMPLER)
    outputs = result.outputs
    edited = color_of(saved(server, prompt, result, EDIT))
    painted, start_step = "", START_STEPS[0]
    for start_step in START_STEPS:
        fill_in(prompt, [sampler], "start_step", start_step)
        prompt[sampler]["_meta"]["title"] = f"Img2img from step {start_step}"
        result = server.run(prompt)
        painted = color_of(saved(server, prompt, result, IMG2IMG))
        print(f"  img2img from step {start_step}: the {NAME} is {painted}", flush=True)
        if painted == wanted:
            break
    # What ran only the first time has its texts there.
    result = replace(result, outputs={**outputs, **result.outputs})
    return result, f"{edited} in the edit, {painted} in img2img from step {start_step}"


def saved(server: ComfyServer, prompt: EditablePrompt, result: Result, titled: str) -> np.ndarray:
    """A saved picture, uint8 [H, W, 3]."""
    (node_id,) = nodes(prompt, class_type="SaveImage", titled=titled)
    return np.asarray(Image.open(io.BytesIO(server.images(result, node_id)[0])).convert("RGB"))


def color_of(shown: np.ndarray) -> str:
    """The color of the edited solid in a picture, or "gone"."""
    from tiny_models.world.judge import judge  # needs torch, which takes seconds to load

    rows, columns = np.nonzero(mask(NAME))
    found = judge(shown).nearest(float(columns.mean()) / 256, float(rows.mean()) / 256)
    return found.color if found else "gone"
