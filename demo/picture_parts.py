"""Building blocks for the help pages' pictures: what a picture is, and the nodes and graphs that they share.

The graphs are in API format. All of them edit still lifes (`still_life.PHOTOS`) with the miniature that was trained on such, in few
steps. They share names for their nodes, so that ComfyUI computes only once what several of them need.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from still_life import PHOTOS

Node = dict[str, Any]
Graph = dict[str, Node]
Link = list[Any]
"""[node id, output]"""

STEPS = 20
START = 8
"""Where edits without attention control begin: late enough to keep the scene, early enough for another color."""
CFG = 5.0


@dataclass(frozen=True)
class Shown:
    """An output of the graph, and the label under its image."""

    label: str
    output: Link
    kind: Literal["IMAGE", "MASK", "LATENT"]


@dataclass(frozen=True)
class Picture:
    """The picture on one node's help page.

    `example` is the graph that its file carries, where `graph` does without the node itself; `first` has to run before.
    """

    node_id: str
    graph: Graph
    shown: tuple[Shown, ...]
    example: Graph | None = None
    first: Graph | None = None


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
CHECKPOINT: Graph = {"checkpoint": node("CheckpointLoaderSimple", ckpt_name="tiny_sd15.safetensors")}


# --- nodes ---


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
    base = {"model": MODEL, "trajectory": PATH, "positive": positive, "negative": EMPTY_PROMPT, "cfg": CFG}
    rest = {"start_step": 0, "hold_source": True, "pull_back": 0.0, "pull_back_below": 400}
    return node("RetraceEditSample", **{**base, **rest, "pull_back_quantile": 0.7, "pull_back_dilation": 1, **settings})


def two_prompts(source: str, target: str, **settings: Any) -> Node:  # noqa: ANN401  (JSON)
    """Prompt to Prompt; without settings it only pairs the two prompts."""
    base = {"model": MODEL, "clip": CLIP, "source_prompt": source, "target_prompts": target, "mode": "auto"}
    attention = {"cross_replace": 0.0, "self_replace": 0.0, "self_replace_layers": "half", "cross_replace_words": ""}
    words = {"reweight": "", "blend_words": "", "blend_threshold": 0.5, "blend_start": 0.2, "blend_layers": "half"}
    less = {"subtract_words": "", "subtract_threshold": 0.3}
    return node("RetracePromptToPrompt", **{**base, **attention, **words, **less, **settings})


def stock_sample(sampler: Link, sigmas: Link, start: Link) -> Node:
    """ComfyUI's SamplerCustom from noise, under the target prompt."""
    prompts = {"positive": TARGET_PROMPT, "negative": EMPTY_PROMPT, "latent_image": start}
    noise = {"add_noise": True, "noise_seed": 3, "cfg": CFG}
    return node("SamplerCustom", model=MODEL, **noise, **prompts, sampler=sampler, sigmas=sigmas)


def sigmas(steps: int = STEPS) -> Node:
    """A DDIM schedule as SIGMAS."""
    levels = {"steps": steps, "spacing": "leading", "terminal": "clean"}
    return node("RetraceDDIMScheduler", model=MODEL, **levels, start_step=0, end_step=1000)


# --- graphs ---


def photographed(name: str) -> Graph:
    """A photo, and the mask of its solid."""
    return {
        "photo": node("LoadImage", image=f"{name}.png"),
        "shape": node("LoadImageMask", image=f"{name} mask.png", channel="red"),
    }


def encoded(name: str, after: str = "") -> Graph:
    """A photo as a LATENT, and its prompts: what it shows, what its edit shows (`after`, or its own), and nothing."""
    return {
        **photographed(name),
        **CHECKPOINT,
        "encode": node("VAEEncode", pixels=["photo", 0], vae=VAE),
        "source": text(PHOTOS[name].before),
        "target": text(after or PHOTOS[name].after),
        "empty": text(""),
    }


def inverted(name: str, after: str = "") -> Graph:
    """A photo's trajectory."""
    return {**encoded(name, after), "invert": invert("RetraceDDIMInvert", cfg=1.0, fixed_point_iterations=2)}


def rebuilt(name: str) -> Graph:
    """A photo sampled again from its noise, without guidance and with it."""
    return {
        **inverted(name),
        "noise": state(0),
        "rebuild": sample(["noise", 0], SOURCE_PROMPT),
        "guided": sample(["noise", 0], SOURCE_PROMPT, cfg=CFG),
    }


def continued(name: str) -> Graph:
    """A photo's edit that continues from a state of its trajectory under another prompt."""
    edited = sample(["state", 0], TARGET_PROMPT, cfg=CFG, start_step=START)
    return {**inverted(name), "state": state(START), "edit": edited}


RECOLORED: Graph = {
    **inverted("ball"),
    "control": two_prompts(
        PHOTOS["ball"].before, PHOTOS["ball"].after, cross_replace=0.8, self_replace=0.8, blend_words="ball"
    ),
    "edit": edit(["control", 1], model=["control", 0]),
    "decode": node("VAEDecode", samples=["edit", 0], vae=VAE),
}
"""The red ball made blue with Prompt to Prompt."""
