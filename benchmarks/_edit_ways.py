"""The ways to edit that are compared, each as the graph that a person would build."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from _graph_run import Graph, Link
from _still_lifes import Case

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
Nodes = dict[str, dict[str, Any]]


def node(class_type: str, **inputs: Any) -> dict[str, Any]:  # noqa: ANN401  (values and links)
    return {"class_type": class_type, "inputs": inputs}


def ways() -> Mapping[str, Callable[[Case], tuple[Graph, Link, Link]]]:
    """Name -> the graph of a case, the link of the edit as it is decoded, and that of the picture that a person gets."""
    img2img = {f"img2img from {first}": lambda case, first=first: _img2img(case, first) for first in FIRST_STEPS}
    return {
        "Edit Image": _edit_image,
        "Edit Image, auto": lambda case: _edit_image(case, change="auto"),
        "Edit Image, painted": lambda case: _edit_image(case, mask=MASK),
        "Prompt to Prompt, defaults": _defaults,
        "prompt swap": _prompt_swap,
        "core inpainting, painted": _core_inpainting,
        **img2img,
    }


def settings_text(way: str, kind: str) -> str:
    """What decides the result of a way beside the code, so that other settings are measured again."""
    from retrace_pack.editing.recipes import RECIPES  # pyright: ignore[reportMissingImports]

    if way.startswith("Edit Image"):
        return re.sub(r"\s+", " ", str(RECIPES["sd1"][KIND_NAMES[kind]]))
    return f"cfg {CFG:g}"


def _edit_image(case: Case, **others: Any) -> tuple[Graph, Link, Link]:  # noqa: ANN401  (inputs of the node)
    inputs = {
        "model": MODEL, "clip": CLIP, "vae": VAE, "image": PHOTO, "before": case.edit.before, "after": case.edit.after,
        "change": KIND_NAMES[case.edit.kind], "strength": 1.0, "seed": SEED, "steps": STEPS, "cfg": 0.0,
        "working_size": SIDE, **others,
    }  # fmt: skip
    return {"easy": node("RetraceEditImage", **inputs)}, ["easy.0.0.decode", 0], ["easy", 0]


def _defaults(case: Case) -> tuple[Graph, Link, Link]:
    """DDIM Invert, Prompt to Prompt and Edit Sample as they come out of the menu; nothing is put back."""
    graph = _beginning(case) | {
        "invert": node(
            "RetraceDDIMInvert", model=MODEL, positive=["before", 0], negative=["empty", 0], latent=["encode", 0]
        ),
        "prompts": node(
            "RetracePromptToPrompt",
            model=MODEL,
            clip=CLIP,
            source_prompt=case.edit.before,
            target_prompts=case.edit.after,
        ),
        "edit": node(
            "RetraceEditSample",
            model=["prompts", 0],
            trajectory=["invert", 0],
            positive=["prompts", 1],
            negative=["empty", 0],
        ),
        "decode": node("VAEDecode", samples=["edit", 0], vae=VAE),
    }
    return graph, ["decode", 0], ["decode", 0]


def _prompt_swap(case: Case) -> tuple[Graph, Link, Link]:
    """The same inversion and another prompt, without attention control."""
    graph = _beginning(case) | {
        "invert": node(
            "RetraceDDIMInvert",
            model=MODEL,
            positive=["before", 0],
            negative=["empty", 0],
            latent=["encode", 0],
            steps=STEPS,
        ),
        "edit": node(
            "RetraceEditSample",
            model=MODEL,
            trajectory=["invert", 0],
            positive=["after", 0],
            negative=["empty", 0],
            cfg=CFG,
        ),
        "decode": node("VAEDecode", samples=["edit", 0], vae=VAE),
    }
    return _put_back(case, graph)


def _img2img(case: Case, first: int) -> tuple[Graph, Link, Link]:
    graph = _beginning(case) | {
        "edit": _core_sampler(["encode", 0], first),
        "decode": node("VAEDecode", samples=["edit", 0], vae=VAE),
    }
    return _put_back(case, graph)


def _core_inpainting(case: Case) -> tuple[Graph, Link, Link]:
    graph = _beginning(case) | {
        "masked": node("SetLatentNoiseMask", samples=["encode", 0], mask=MASK),
        "edit": _core_sampler(["masked", 0], 0),
        "decode": node("VAEDecode", samples=["edit", 0], vae=VAE),
    }
    return _put_back(case, graph)


def _core_sampler(latent: Link, first: int) -> dict[str, Any]:
    return node(
        "KSamplerAdvanced", model=MODEL, add_noise="enable", noise_seed=SEED, steps=STEPS, cfg=CFG, sampler_name="euler",
        scheduler="ddim_uniform", positive=["after", 0], negative=["empty", 0], latent_image=latent, start_at_step=first,
        end_at_step=10_000, return_with_leftover_noise="disable",
    )  # fmt: skip


def _beginning(case: Case) -> Nodes:
    return {
        "encode": node("VAEEncode", pixels=PHOTO, vae=VAE),
        "before": node("CLIPTextEncode", clip=CLIP, text=case.edit.before),
        "after": node("CLIPTextEncode", clip=CLIP, text=case.edit.after),
        "empty": node("CLIPTextEncode", clip=CLIP, text=""),
    }


def _put_back(case: Case, graph: Nodes) -> tuple[Graph, Link, Link]:
    """The help that Edit Image gives itself: only what the edit changed goes back into the photo."""
    from retrace_pack.editing.recipes import RECIPES  # pyright: ignore[reportMissingImports]
    from retrace_pack.nodes.edit_graph import SMALLEST_DIFFERENCE  # pyright: ignore[reportMissingImports]
    from retrace_pack.nodes.edit_image import FEATHER  # pyright: ignore[reportMissingImports]

    recipe = RECIPES["sd1"][KIND_NAMES[case.edit.kind]]
    if recipe.returns == "whole":
        return graph, ["decode", 0], ["decode", 0]
    margin = max(1, round(recipe.grow * SIDE))
    difference = {"round_trip": ["round_trip", 0]} if recipe.returns == "difference" else {}
    graph = graph | {
        "round_trip": node("VAEDecode", samples=["encode", 0], vae=VAE),
        "changed": node(
            "RetraceChangedRegion",
            edited=["decode", 0],
            round_trip=["round_trip", 0],
            smallest=SMALLEST_DIFFERENCE,
            grow=margin,
            feather=max(1, margin // 2),
        ),
        "composite": node(
            "RetracePixelComposite",
            source=PHOTO,
            edited=["decode", 0],
            mask=["changed", 0],
            feather=FEATHER,
            **difference,
        ),
    }
    return graph, ["decode", 0], ["composite", 0]
