"""The ways to edit that are compared, each as the graph that a person would build."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from _graph_run import Graph, Link
from _still_lifes import Case

if TYPE_CHECKING:
    from retrace_pack.editing.recipes import Recipe  # pyright: ignore[reportMissingImports]

STEPS, CFG = 50, 5.0
SIDE = 256
SEED = 1
FIRST_STEPS = (5, 10, 15, 20, 25, 30, 35, 40)
"""Where img2img may start, of `STEPS`."""
KIND_NAMES = {
    "color": "color or material", "material": "color or material", "shape": "object or shape", "size": "object or shape",
    "floor": "background", "wall": "background", "object added": "add something", "object removed": "remove something",
    "style": "style", "lamp": "everything",
}  # fmt: skip
"""The kinds of the world in the words of Edit Image's `change`."""
MODEL, CLIP, VAE, PHOTO, MASK = (["model", 0], ["clip", 0], ["vae", 0], ["photo", 0], ["mask", 0])
ENCODED = ["encode", 0]
INVERSION = {"positive": ["before", 0], "negative": ["empty", 0], "latent": ENCODED}
CONTINUATION = {"trajectory": ["invert", 0], "negative": ["empty", 0]}
Nodes = dict[str, dict[str, Any]]


def node(class_type: str, **inputs: Any) -> dict[str, Any]:  # noqa: ANN401  (values and links)
    return {"class_type": class_type, "inputs": inputs}


def ways() -> Mapping[str, Callable[[Case], tuple[Graph, Link]]]:
    """Name -> the graph of a case, and the link of the picture that a person gets."""
    img2img = {f"img2img from {first}": lambda case, first=first: _core(case, ENCODED, first) for first in FIRST_STEPS}
    return {
        "Edit Image": _edit_image,
        "Edit Image, auto": lambda case: _edit_image(case, change="auto"),
        "Edit Image, painted": lambda case: _edit_image(case, mask=MASK),
        "Prompt to Prompt, defaults": _defaults,
        "prompt swap": _prompt_swap,
        "core inpainting, painted": lambda case: _core(case, ["masked", 0], 0),
        **img2img,
    }


def settings_text(way: str, kind: str) -> str:
    """What decides the result of a way beside the code, so that other settings are measured again."""
    recipe = _recipe(kind)
    return repr(recipe) if way.startswith("Edit Image") else f"cfg {CFG:g}, {recipe.returns}, grow {recipe.grow:g}"


def _recipe(kind: str) -> Recipe:
    from retrace_pack.editing.recipes import RECIPES  # pyright: ignore[reportMissingImports]

    return RECIPES["sd1"][KIND_NAMES[kind]]


def _edit_image(case: Case, **others: Any) -> tuple[Graph, Link]:  # noqa: ANN401  (inputs of the node)
    inputs = {
        "model": MODEL, "clip": CLIP, "vae": VAE, "image": PHOTO, "before": case.edit.before, "after": case.edit.after,
        "change": KIND_NAMES[case.edit.kind], "seed": SEED, "steps": STEPS, "working_size": SIDE, **others,
    }  # fmt: skip
    return {"easy": node("RetraceEditImage", **inputs)}, ["easy", 0]


def _defaults(case: Case) -> tuple[Graph, Link]:
    """DDIM Invert, Prompt to Prompt and Edit Sample as they come out of the menu; nothing is put back."""
    prompts = {"source_prompt": case.edit.before, "target_prompts": case.edit.after}
    graph = _beginning(case) | {
        "invert": node("RetraceDDIMInvert", model=MODEL, **INVERSION),
        "prompts": node("RetracePromptToPrompt", model=MODEL, clip=CLIP, **prompts),
        "edit": node("RetraceEditSample", model=["prompts", 0], positive=["prompts", 1], **CONTINUATION),
    }
    return graph, ["decode", 0]


def _prompt_swap(case: Case) -> tuple[Graph, Link]:
    """The same inversion and another prompt, without attention control."""
    graph = _beginning(case) | {
        "invert": node("RetraceDDIMInvert", model=MODEL, steps=STEPS, **INVERSION),
        "edit": node("RetraceEditSample", model=MODEL, positive=["after", 0], cfg=CFG, **CONTINUATION),
    }
    return _put_back(case, graph)


def _core(case: Case, latent: Link, first: int) -> tuple[Graph, Link]:
    """ComfyUI's own sampler from step `first` of the photo with noise: img2img, or inpainting of the masked latent."""
    sampler = node(
        "KSamplerAdvanced", model=MODEL, add_noise="enable", noise_seed=SEED, steps=STEPS, cfg=CFG, sampler_name="euler",
        scheduler="ddim_uniform", positive=["after", 0], negative=["empty", 0], latent_image=latent, start_at_step=first,
        end_at_step=10_000, return_with_leftover_noise="disable",
    )  # fmt: skip
    masked = node("SetLatentNoiseMask", samples=ENCODED, mask=MASK)
    return _put_back(case, _beginning(case) | {"masked": masked, "edit": sampler})


def _beginning(case: Case) -> Nodes:
    """The photo and the prompts encoded, and the node that decodes `edit`."""
    return {
        "encode": node("VAEEncode", pixels=PHOTO, vae=VAE),
        "before": node("CLIPTextEncode", clip=CLIP, text=case.edit.before),
        "after": node("CLIPTextEncode", clip=CLIP, text=case.edit.after),
        "empty": node("CLIPTextEncode", clip=CLIP, text=""),
        "decode": node("VAEDecode", samples=["edit", 0], vae=VAE),
    }


def _put_back(case: Case, graph: Nodes) -> tuple[Graph, Link]:
    """The help that Edit Image gives itself: only what the edit changed goes back into the photo."""
    from retrace_pack.nodes.edit_graph import SMALLEST_DIFFERENCE  # pyright: ignore[reportMissingImports]
    from retrace_pack.nodes.edit_image import FEATHER  # pyright: ignore[reportMissingImports]

    recipe = _recipe(case.edit.kind)
    if recipe.returns == "whole":
        return graph, ["decode", 0]
    margin = max(1, round(recipe.grow * SIDE))
    region = {"smallest": SMALLEST_DIFFERENCE, "grow": margin, "feather": max(1, margin // 2)}
    texture = "everywhere" if recipe.returns == "difference" else "around the change"
    pictures = {"source": PHOTO, "edited": ["decode", 0], "mask": ["changed", 0], "round_trip": ["round_trip", 0]}
    graph = graph | {
        "round_trip": node("VAEDecode", samples=ENCODED, vae=VAE),
        "changed": node("RetraceChangedRegion", edited=["decode", 0], round_trip=["round_trip", 0], **region),
        "composite": node("RetracePixelComposite", feather=FEATHER, kept_texture=texture, **pictures),
    }
    return graph, ["composite", 0]
