"""Building blocks for the help pages' pictures: what a picture is, and the nodes and graphs that they share.

The graphs are in API format. All of them edit the shipped image with the shipped miniature model, in a few steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Node = dict[str, Any]
Graph = dict[str, Node]
Link = list[Any]
"""[node id, output]"""

STEPS = 20
SOURCE = "a large white triangle on a purple background"
TARGET = "a large green triangle on a purple background"


@dataclass(frozen=True)
class Shown:
    """An output of the graph, and the label under its image."""

    label: str
    output: Link
    kind: Literal["IMAGE", "MASK", "LATENT"]


@dataclass(frozen=True)
class Picture:
    """The picture on one node's help page."""

    node_id: str
    graph: Graph
    shown: tuple[Shown, ...]


def image(label: str, node_id: str, output: int = 0) -> Shown:
    """An IMAGE, unchanged."""
    return Shown(label, [node_id, output], "IMAGE")


def mask(label: str, node_id: str, output: int = 0) -> Shown:
    """A MASK as white on black."""
    return Shown(label, [node_id, output], "MASK")


def latent(label: str, node_id: str, output: int = 0) -> Shown:
    """A LATENT, decoded by the VAE."""
    return Shown(label, [node_id, output], "LATENT")


def node(class_type: str, **inputs: Any) -> Node:  # noqa: ANN401  (JSON)
    """A node in API format."""
    return {"class_type": class_type, "inputs": inputs}


MODEL, CLIP, VAE = (["checkpoint", output] for output in range(3))
SOURCE_PROMPT, TARGET_PROMPT, EMPTY_PROMPT = (["source", 0], ["target", 0], ["empty", 0])
PATH, LEVELS = ["invert", 0], ["sigmas", 0]
SCHEDULE = {"steps": STEPS, "spacing": "leading", "terminal": "clean"}


def text(words: str) -> Node:
    """A prompt."""
    return node("CLIPTextEncode", clip=CLIP, text=words)


def invert(class_type: str, **settings: Any) -> Node:  # noqa: ANN401  (JSON)
    """The photo's trajectory under the source prompt."""
    base = {"model": MODEL, "positive": SOURCE_PROMPT, "negative": EMPTY_PROMPT, "latent": ["encode", 0]}
    return node(class_type, **base, **SCHEDULE, **settings)


def state(start_step: int, trajectory: Link = PATH) -> Node:
    """A state of the trajectory as a LATENT."""
    return node("RetraceTrajectoryLatent", trajectory=trajectory, model=MODEL, start_step=start_step)


def sample(start: Link, positive: Link, **settings: Any) -> Node:  # noqa: ANN401  (JSON)
    """DDIM from a LATENT; from its first step, unless the settings give another."""
    base = {"model": MODEL, "positive": positive, "negative": EMPTY_PROMPT, "latent": start, "seed": 1, "cfg": 1.0}
    rest = {"start_step": 0, "end_step": 1000, "add_noise": False, "eta": 0.0, "same_noise": False, "row_seeds": ""}
    return node("RetraceDDIMSample", **{**base, **rest, **SCHEDULE, **settings})


def edit(positive: Link = TARGET_PROMPT, **settings: Any) -> Node:  # noqa: ANN401  (JSON)
    """Edit Sample on the trajectory."""
    base = {"model": MODEL, "trajectory": PATH, "positive": positive, "negative": EMPTY_PROMPT, "cfg": 4.0}
    rest = {"start_step": 0, "hold_source": True, "pull_back": 0.0, "pull_back_below": 400}
    return node("RetraceEditSample", **{**base, **rest, "pull_back_quantile": 0.7, "pull_back_dilation": 1, **settings})


def stock_sample(sampler: Link, sigmas: Link = LEVELS, **settings: Any) -> Node:  # noqa: ANN401  (JSON)
    """ComfyUI's SamplerCustom from noise, under the target prompt."""
    prompts = {"positive": TARGET_PROMPT, "negative": EMPTY_PROMPT, "latent_image": ["encode", 0]}
    base = {"model": MODEL, "add_noise": True, "noise_seed": 3, "cfg": 4.0}
    return node("SamplerCustom", **{**base, **prompts, "sampler": sampler, "sigmas": sigmas, **settings})


def sigmas(steps: int = STEPS) -> Node:
    """A DDIM schedule as SIGMAS."""
    levels = {"steps": steps, "spacing": "leading", "terminal": "clean"}
    return node("RetraceDDIMScheduler", model=MODEL, **levels, start_step=0, end_step=1000)


PHOTO: Graph = {
    "photo": node("LoadImage", image="demo.png"),
    "shape": node("LoadImageMask", image="demo_mask.png", channel="red"),
}
ENCODED: Graph = {
    **PHOTO,
    "checkpoint": node("CheckpointLoaderSimple", ckpt_name="tiny_sd15.safetensors"),
    "encode": node("VAEEncode", pixels=["photo", 0], vae=VAE),
    "source": text(SOURCE),
    "target": text(TARGET),
    "empty": text(""),
}
INVERTED: Graph = {**ENCODED, "invert": invert("RetraceDDIMInvert", cfg=1.0, fixed_point_iterations=2)}
REBUILT: Graph = {
    **INVERTED,
    "noise": state(0),
    "rebuild": sample(["noise", 0], SOURCE_PROMPT),
    "guided": sample(["noise", 0], SOURCE_PROMPT, cfg=5.0),
}
EDITED: Graph = {**INVERTED, "state": state(11), "edit": sample(["state", 0], TARGET_PROMPT, cfg=3.0, start_step=11)}
