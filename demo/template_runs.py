"""Templates on the miniatures: the graph as the frontend would queue it, with another photo and other words, in a real ComfyUI."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import batch_package  # noqa: F401  (for `batch`)
import cv2
import numpy as np
from api_graph import EditablePrompt, fill_in, nodes, title
from PIL import Image
from still_life import PHOTOS, photo
from tiny_models.world.truth import truth_of

from batch.server import ComfyServer
from batch.stored_graph import api_prompt, filled_in

ROOT = Path(__file__).resolve().parent.parent
TEMPLATES = ROOT / "workflows"
MINIATURES = ROOT / ".dev" / "miniatures"
PARTS = ROOT / "tests" / "tiny_models" / "weights"
LOADER = ROOT / "tests" / "tiny_models" / "loader"
FILES = {
    "checkpoints": MINIATURES / "tiny_sd15.safetensors",
    "controlnet": PARTS / "tiny_controlnet.safetensors",
    "diffusion_models": MINIATURES / "tiny_flux_guided.safetensors",
    "text_encoders": PARTS / "tiny_text.safetensors",
    "vae": PARTS / "tiny_vae16.safetensors",
}
"""The miniature in place of each kind of file that the templates name."""
SIDE = 256
"""What the miniatures were trained on."""
PAINTED_BEYOND = 5
"""Pixels of 256 by which a person would paint over an object's edge."""

Settings = Mapping[str, Mapping[str, Any]]
"""Title of a node -> inputs."""


@dataclass(frozen=True)
class Run:
    """A template on a photo of `side` pixels. `after`: what it should show, if it is not the photo's own edit.

    `painted`: the edited solid and its shadow are painted over in the mask editor.
    """

    template: str
    photo: str
    after: str = ""
    side: int = SIDE
    painted: bool = False
    settings: Settings = field(default_factory=dict)

    @property
    def words(self) -> tuple[str, str]:
        """The prompts before and after."""
        edit = PHOTOS[self.photo]
        return edit.before, self.after or edit.after


def stored(template: str) -> dict[str, Any]:
    """A template's stored graph."""
    return json.loads((TEMPLATES / f"{template}.json").read_text(encoding="utf-8"))


def missing_files(template: str) -> list[str]:
    """The miniatures' files that are not there, of those that the template needs."""
    folders = {
        model["directory"] for node in stored(template)["nodes"] for model in node["properties"].get("models", [])
    }
    return [str(FILES[folder].relative_to(ROOT)) for folder in sorted(folders) if not FILES[folder].is_file()]


def make_server() -> ComfyServer:
    """A ComfyUI where the miniatures have the names that the templates give their models."""
    named = [
        model
        for path in TEMPLATES.glob("*.json")
        for node in stored(path.stem)["nodes"]
        for model in node["properties"].get("models", [])
    ]
    models = {f"{each['directory']}/{each['name']}": FILES[each["directory"]] for each in named}
    return ComfyServer(
        Path(os.environ["COMFYUI_PATH"]),
        custom_nodes={"retrace": ROOT, "tiny_models": LOADER},
        models={place: file for place, file in models.items() if file.is_file()},
    )


def prompt_of(server: ComfyServer, run: Run) -> EditablePrompt:
    """The template's prompt with the photo, its words and the miniatures' size filled in; the photo is put into place."""
    prompt = api_prompt(stored(run.template), server.get("/object_info"))
    for node_id in nodes(prompt, class_type="LoadImage"):
        fill_in(prompt, [node_id], "image", write_photo(run, server.base / "input"))
    before, after = run.words
    known = {
        "Resize": {"megapixels": (SIDE / 1024) ** 2},
        "Source prompt": {"value": before},
        "Target prompt": {"value": after},
        "Edit Image": {"before": before, "after": after, "working_size": SIDE},
    }
    for titled, inputs in (*known.items(), *run.settings.items()):
        for name, value in inputs.items():
            fill_in(prompt, nodes(prompt, titled=titled), name, value)
    return prompt


def pictures(server: ComfyServer, prompt: EditablePrompt) -> dict[str, list[Image.Image]]:
    """Run the prompt; title of a node -> the pictures that it saves or previews."""
    result = server.run(prompt, timeout=3600)
    shown = {title(node): server.images(result, node_id) for node_id, node in prompt.items()}
    return {name: [Image.open(io.BytesIO(png)).convert("RGB") for png in pngs] for name, pngs in shown.items()}


def workflow_of(server: ComfyServer, template: str, prompt: EditablePrompt) -> dict[str, Any]:
    """The template with the prompt's values, for a picture to carry."""
    return filled_in(stored(template), prompt, server.get("/object_info"))


def write_photo(run: Run, folder: Path) -> str:
    """Write the photo to ComfyUI's input folder; a painted place is transparent, as the mask editor saves it."""
    name = f"{run.photo}{' painted' if run.painted else ''} {run.side}.png"
    picture = Image.fromarray(photo(run.photo, run.side))
    if run.painted:
        picture.putalpha(Image.fromarray(np.where(painted(run.photo, run.side), 0, 255).astype(np.uint8)))
    picture.save(folder / name)
    return name


def painted(name: str, side: int) -> np.ndarray:
    """Where the edited solid and its shadow are or will be, and a little more, bool [side, side]."""
    truth = truth_of(PHOTOS[name], side)
    reach = PAINTED_BEYOND * side // SIDE
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    return cv2.dilate((truth.objects | truth.shadows).astype(np.uint8), disk) > 0
