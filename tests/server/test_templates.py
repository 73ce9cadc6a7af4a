"""Every template in a real ComfyUI with the miniature: listed, served, and run with its words, its size and fewer steps."""

import json
import os
from pathlib import Path
from urllib.parse import quote

import ball
import numpy as np
import pytest
from retrace_pack.batch.server import ComfyServer

ROOT = Path(__file__).resolve().parent.parent.parent
MINIATURES, LOADER = ROOT / ".dev" / "miniatures", ROOT / "tests" / "tiny_models" / "loader"
NAMES = sorted(path.stem for path in (ROOT / "workflows").glob("*.json"))
SHAPE = "4 New pose or expression"
FLUX = "9 Invert and edit, Flux"
STEPS = 20


@pytest.fixture(scope="module")
def template_server(flux_files):
    """A ComfyUI where the miniature has the names that the templates give their models, and the photo a painted mask."""
    graphs = [json.loads((ROOT / "workflows" / f"{name}.json").read_text(encoding="utf-8")) for name in NAMES]
    named = [model for graph in graphs for node in graph["nodes"] for model in node["properties"].get("models", [])]
    files = {
        "checkpoints": MINIATURES / "tiny_sd15.safetensors",
        "controlnet": LOADER.parent / "weights" / "tiny_controlnet.safetensors",
        "diffusion_models": flux_files / "tiny_flux_guided.safetensors",
        "text_encoders": flux_files / "tiny_text.safetensors",
        "vae": flux_files / "tiny_vae16.safetensors",
    }
    with ComfyServer(
        Path(os.environ["COMFYUI_PATH"]),
        custom_nodes={"retrace": ROOT, "tiny_models": LOADER},
        models={f"{model['directory']}/{model['name']}": files[model["directory"]] for model in named},
        arguments=("--use-pytorch-cross-attention",),
    ) as server:
        ball.write(server.base / "input")
        yield server


def small(name: str, prompt: dict) -> dict:
    """On the miniature's size, in its words, in fewer steps; where nothing is said of the picture, on half of its size."""
    side = 128 if name == FLUX else 256
    changes = {
        "Resize": {"megapixels": (side / 1024) ** 2},
        "Edit Image": {"before": ball.BEFORE, "after": ball.AFTER, "working_size": side},
        "Source prompt": {"value": ball.BEFORE},
        "Target prompt": {"value": ball.CUBE if name == SHAPE else ball.AFTER},
        "Photo": {"image": "painted ball.png" if name.startswith("3 ") else "ball.png"},
        "Edit under attention control": {"cfg": 4.0},
        "Prompt to Prompt": {"cross_replace": 0.8, "self_replace": 0.8, "blend_threshold": 0.6},
        "Four prompts": {
            "source_prompt": "a photo of a large matte red ball on a wooden floor, white wall",
            "target_prompts": "a photo of a large matte green cube on a stone floor, blue wall\n"
            "a photo of a large matte black cone on a sandy floor, pink wall\n"
            "a photo of a large matte white cylinder on a grassy floor, gray wall",
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
    assert ball.seen(run(name)["Edit"]) == ball.EDITED


def test_the_easy_node_edits_at_the_photos_own_size_and_keeps_what_it_does_not_touch(run):
    edited = run("1 Edit a photo")["Edited photo"]
    assert ball.seen(edited) == ball.EDITED
    assert edited.shape == ball.photo().shape
    assert (edited == ball.photo()).all(axis=-1).mean() > 0.2


def test_an_inpainted_photo_is_the_photo_outside_the_mask(run):
    result = run("3 Inpaint, keep the rest exact")["Inpainted"]
    allowed = ball.around(ball.mask(), ball.ROOM + 5)  # the template grows the mask by four pixels
    assert np.array_equal(result[~allowed], ball.photo()[~allowed])
    assert ball.seen(result) == ball.EDITED


def test_a_new_shape_keeps_its_look(run):
    color, _, floor, wall = ball.seen(run(SHAPE)["Edit"])
    assert (color, floor, wall) == ("red", "tiled", "green")


def test_a_stock_sampler_rebuilds_the_photo(run):
    pictures = run("6 Rebuild a photo in any sampler")
    photo = ball.photo().astype(float)
    error = np.abs(pictures["Reconstruction"] - photo).mean()
    assert error < 6
    assert error < np.abs(pictures["Edit"] - photo).mean()
    assert ball.seen(pictures["Edit"])[0] == "blue"


def test_the_notebook_path_rebuilds_the_photo(run):
    assert np.abs(run("7 Invert, rebuild, edit")["Reconstruction"] - ball.photo().astype(float)).mean() < 6


def test_flux_edits_and_gives_the_photo_back_as_its_note_says(
    template_server, template_prompt, saved_pictures, by_title
):
    """With random weights, so that nothing can be said of the edit but that it is another picture."""
    prompt = small(FLUX, template_prompt(FLUX, template_server.get("/object_info")))
    edited = saved_pictures(template_server, prompt)["Edited photo"].astype(float)
    changes = {
        "Target prompt": {"value": ball.BEFORE},
        "Guidance of the edit": {"guidance": 1.0},
        "Edit": {"start_step": 0},
    }
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
    """What is tested is the batch and the cells: the miniature knows outlines of solids, not poses."""
    grid = run("8 Many hints, one ControlNet")["Result"]
    assert grid.shape == (1028, 1028, 3)
    cells = [grid[y : y + 512, x : x + 512].astype(float) for y in (0, 516) for x in (0, 516)]
    assert min(np.abs(a - b).mean() for index, a in enumerate(cells) for b in cells[:index]) > 5
