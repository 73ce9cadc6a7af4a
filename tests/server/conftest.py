"""A real ComfyUI with this pack and the miniatures, started once for all server tests."""

import io
import json
import os
from pathlib import Path

import ball
import numpy as np
import pytest
from PIL import Image
from random_flux import write_random_flux, write_random_lora
from retrace_pack.batch.server import ComfyServer

ROOT = Path(__file__).resolve().parent.parent.parent
MINIATURES = ROOT / ".dev" / "miniatures"
LOADER = ROOT / "tests" / "tiny_models" / "loader"
FIRST_TEMPLATES = ROOT / "tests" / "saved_workflows" / "0.1.0"


@pytest.fixture(scope="session")
def flux_files(tmp_path_factory):
    """A folder with the files of a Flux of random weights, and a LoRA for it."""
    folder = tmp_path_factory.mktemp("flux")
    write_random_flux(folder, gain=30.0)
    write_random_lora(folder / "lora.safetensors")
    return folder


@pytest.fixture(scope="session")
def server(flux_files):
    with ComfyServer(
        Path(os.environ["COMFYUI_PATH"]),
        custom_nodes={
            "retrace": ROOT,
            "tiny_models": LOADER,
            "holding_pack": ROOT / "tests" / "server" / "holding_pack",
        },
        models={
            "checkpoints": MINIATURES,
            **dict.fromkeys(("diffusion_models", "text_encoders", "vae", "loras"), flux_files),
        },
        # As on a GPU, and half again as fast in the miniature; servers that tests start for themselves do without it.
        # The previews that a browser asks for.
        arguments=("--use-pytorch-cross-attention", "--preview-method", "latent2rgb"),
    ) as running:
        ball.write(running.base / "input")
        yield running


STEPS = 20


def template_graph():
    """The template's graph in API format, on the ball's photo and the miniature, with 20 steps for 50."""
    prompt = json.loads((ROOT / "tests" / "server" / "prompts" / "edit.json").read_text(encoding="utf-8"))
    for node in prompt.values():
        if "steps" in node["inputs"]:
            node["inputs"]["steps"] = STEPS
        if node["_meta"]["title"] == "Start step":
            node["inputs"]["value"] = node["inputs"]["value"] * STEPS // 50
    return prompt


@pytest.fixture(scope="module")
def module_edit_prompt():
    return template_graph()


@pytest.fixture
def edit_prompt():
    return template_graph()


@pytest.fixture(scope="session")
def template_prompt(api_prompt):
    """(Workflow, /object_info) -> what the frontend would queue for a template, or for one of those of version 0.1.0."""

    def read(name: str, object_info: dict) -> dict:
        folder = FIRST_TEMPLATES if name.startswith("retrace_") else ROOT / "workflows"
        return api_prompt(json.loads((folder / f"{name}.json").read_text(encoding="utf-8")), object_info)

    return read


@pytest.fixture(scope="session")
def by_title():
    def find(prompt, title: str) -> str:
        return next(node for node, content in prompt.items() if content["_meta"]["title"] == title)

    return find


@pytest.fixture(scope="session")
def needed():
    """(prompt, nodes of it) -> the part of the prompt that these nodes need."""

    def part(prompt, *nodes: str):
        found, waiting = {}, list(nodes)
        while waiting:
            node = waiting.pop()
            found[node] = prompt[node]
            waiting += [value[0] for value in prompt[node]["inputs"].values() if isinstance(value, list)]
        return found

    return part


@pytest.fixture(scope="session")
def pixels():
    """PNG bytes -> uint8 [H, W, 3]."""
    return lambda png: np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


@pytest.fixture(scope="session")
def saved_pictures(pixels):
    """Run a prompt on a server -> {title of a SaveImage node: its image}."""

    def run(server: ComfyServer, prompt):
        result = server.run(prompt)
        return {
            content["_meta"]["title"]: pixels(server.images(result, node)[0])
            for node, content in prompt.items()
            if content["class_type"] == "SaveImage"
        }

    return run
