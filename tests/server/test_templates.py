"""Every template in a real ComfyUI with the miniature: listed, served, and run with its words, its size and fewer steps."""

import json
import os
import shutil
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from judge import judge
from PIL import Image
from retrace_pack.batch.server import ComfyServer

ROOT = Path(__file__).resolve().parent.parent.parent
TINY = ROOT / "tests" / "tiny_sd"
NAMES = sorted(path.stem for path in (ROOT / "workflows").glob("*.json"))
SOURCE = "a large white triangle on a purple background"
TARGETS = {
    "3 Inpaint, keep the rest exact": "a large green circle on a purple background",
    "4 New pose or expression": "a large white star on a purple background",
}
GREEN = "a large green triangle on a purple background"
FLUX = "9 Invert and edit, Flux"
STEPS = 20
ROOM = 20
"""Pixels that are painted over around the object."""


@pytest.fixture(scope="module")
def template_server(flux_files):
    """A ComfyUI where the miniature has the names that the templates give their models, and the photo a painted mask."""
    graphs = [json.loads((ROOT / "workflows" / f"{name}.json").read_text(encoding="utf-8")) for name in NAMES]
    named = [model for graph in graphs for node in graph["nodes"] for model in node["properties"].get("models", [])]
    files = {
        "checkpoints": TINY / "tiny_sd15.safetensors",
        "controlnet": TINY / "tiny_controlnet.safetensors",
        "diffusion_models": flux_files / "tiny_flux_guided.safetensors",
        "text_encoders": flux_files / "tiny_text.safetensors",
        "vae": flux_files / "tiny_vae16.safetensors",
    }
    with ComfyServer(
        Path(os.environ["COMFYUI_PATH"]),
        custom_nodes={"retrace": ROOT, "tiny_sd": TINY, "tiny_models": TINY.parent / "tiny_models" / "loader"},
        models={f"{model['directory']}/{model['name']}": files[model["directory"]] for model in named},
        arguments=("--use-pytorch-cross-attention",),
    ) as server:
        shutil.copy(TINY / "demo.png", server.base / "input" / "example.png")
        photo = Image.open(TINY / "demo.png").convert("RGB")
        photo.putalpha(Image.fromarray(np.where(painted(), 0, 255).astype(np.uint8)))
        photo.save(server.base / "input" / "painted.png")
        yield server


def painted() -> np.ndarray:
    """The box around the object [H, W]."""
    inside = np.asarray(Image.open(TINY / "demo_mask.png").convert("L")) > 127
    rows, columns = np.nonzero(inside)
    box = np.zeros_like(inside)
    top, left = (max(0, side.min() - ROOM) for side in (rows, columns))
    box[top : rows.max() + ROOM + 1, left : columns.max() + ROOM + 1] = True
    return box


def small(name: str, prompt: dict) -> dict:
    """On the miniature's size, in its words, in fewer steps."""
    changes = {
        "Resize": {"megapixels": (128 / 1024) ** 2},
        "Edit Image": {"before": SOURCE, "after": GREEN, "working_size": 128},
        "Source prompt": {"value": SOURCE},
        "Target prompt": {"value": TARGETS.get(name, GREEN)},
        "Photo": {"image": "painted.png"} if name.startswith("3 ") else {},
        "Edit under attention control": {"cfg": 4.0},
        "Prompt to Prompt": {"cross_replace": 0.8, "self_replace": 0.8, "blend_threshold": 0.6},
        "Four prompts": {
            "source_prompt": "a large red circle on a blue background",
            "target_prompts": "a large green square on a white background\na large black star on a yellow background\n"
            "a large white cross on a red background",
        },
        "Four empty latents": {"width": 128, "height": 128},
    }
    for node in prompt.values():
        inputs, title = node["inputs"], node["_meta"]["title"]
        for step in ("steps", "start_at_step"):
            if inputs.get(step) and not isinstance(inputs[step], list):
                inputs[step] = inputs[step] * STEPS // 50
        if title == "Start step":
            inputs["value"] = inputs["value"] * STEPS // 50
        inputs |= changes.get(title, {})
    return prompt


@pytest.fixture(scope="module")
def run(template_server, template_prompt, saved_pictures):
    """Template -> {title of a SaveImage node: its picture}, each run once."""
    object_info = template_server.get("/object_info")
    finished = {}

    def get(name: str):
        if name not in finished:
            finished[name] = saved_pictures(template_server, small(name, template_prompt(name, object_info)))
        return finished[name]

    return get


def test_there_is_no_other_template(template_server):
    assert sorted(template_server.get("/workflow_templates")["retrace"]) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_template_is_served_with_its_picture(template_server, name):
    address = f"/api/workflow_templates/retrace/{quote(name)}"
    assert json.loads(template_server.request(f"{address}.json"))["nodes"]
    assert template_server.request(f"{address}.jpg").startswith(b"\xff\xd8")


@pytest.mark.parametrize("name", ["2 Change one word, keep the rest", "5 New style", "7 Invert, rebuild, edit"])
def test_an_edit_shows_the_new_color(run, name):
    verdict = judge(run(name)["Edit"])
    assert (verdict.color, verdict.background) == ("green", "purple")


def test_the_easy_node_edits_at_the_photos_own_size_and_keeps_what_it_does_not_touch(run):
    photo = np.asarray(Image.open(TINY / "demo.png").convert("RGB"))
    edited = run("1 Edit a photo")["Edited photo"]
    verdict = judge(edited)
    assert (verdict.color, verdict.shape, verdict.background) == ("green", "triangle", "purple")
    assert edited.shape == photo.shape
    assert (edited == photo).all(axis=-1).mean() > 0.2


def test_an_inpainted_photo_is_the_photo_outside_the_mask(run):
    photo = np.asarray(Image.open(TINY / "demo.png").convert("RGB"))
    result = run("3 Inpaint, keep the rest exact")["Inpainted"]
    rows, columns = np.nonzero(painted())
    allowed = np.zeros_like(painted())  # the template grows the mask by four pixels
    allowed[max(0, rows.min() - 5) : rows.max() + 6, max(0, columns.min() - 5) : columns.max() + 6] = True
    assert np.array_equal(result[~allowed], photo[~allowed])
    verdict = judge(result)
    assert (verdict.color, verdict.background) == ("green", "purple")


def test_a_new_shape_keeps_its_look(run):
    verdict = judge(run("4 New pose or expression")["Edit"])
    assert (verdict.color, verdict.background) == ("white", "purple")


def test_a_stock_sampler_rebuilds_the_photo(run):
    pictures = run("6 Rebuild a photo in any sampler")
    photo = np.asarray(Image.open(TINY / "demo.png").convert("RGB")).astype(float)
    error = np.abs(pictures["Reconstruction"] - photo).mean()
    assert error < 6
    assert error < np.abs(pictures["Edit"] - photo).mean()
    assert judge(pictures["Edit"]).color == "green"


def test_the_notebook_path_rebuilds_the_photo(run):
    photo = np.asarray(Image.open(TINY / "demo.png").convert("RGB")).astype(float)
    assert np.abs(run("7 Invert, rebuild, edit")["Reconstruction"] - photo).mean() < 6


def test_flux_edits_and_gives_the_photo_back_as_its_note_says(
    template_server, template_prompt, saved_pictures, by_title
):
    """With random weights, so that nothing can be said of the edit but that it is another picture."""
    prompt = small(FLUX, template_prompt(FLUX, template_server.get("/object_info")))
    edited = saved_pictures(template_server, prompt)["Edited photo"].astype(float)
    changes = {"Target prompt": {"value": SOURCE}, "Guidance of the edit": {"guidance": 1.0}, "Edit": {"start_step": 0}}
    for title, inputs in changes.items():
        prompt[by_title(prompt, title)]["inputs"] |= inputs
    encoded, vae = by_title(prompt, "Encode"), by_title(prompt, "VAE")
    decoded = {"samples": [encoded, 0], "vae": [vae, 0]}
    prompt["trip"] = {"class_type": "VAEDecode", "inputs": decoded, "_meta": {"title": "Decode"}}
    saved = {"images": ["trip", 0], "filename_prefix": "trip"}
    prompt["saved"] = {"class_type": "SaveImage", "inputs": saved, "_meta": {"title": "Round trip"}}
    pictures = saved_pictures(template_server, prompt)
    trip = pictures["Round trip"].astype(float)
    assert trip.std() > 1 and np.abs(edited - trip).mean() > 1
    assert np.abs(pictures["Edited photo"] - trip).max() <= 1


def test_four_hints_come_as_one_grid(run):
    """What is tested is the batch and the cells: the miniature knows outlines of shapes, not poses."""
    grid = run("8 Many hints, one ControlNet")["Result"]
    assert grid.shape == (1028, 1028, 3)
    cells = [grid[y : y + 512, x : x + 512].astype(float) for y in (0, 516) for x in (0, 516)]
    assert min(np.abs(a - b).mean() for index, a in enumerate(cells) for b in cells[:index]) > 5
