"""The help pages' pictures for the nodes that inpaint, and that prepare masks and put results back into the photo."""

from __future__ import annotations

from typing import Any

from picture_parts import (
    CFG,
    EMPTY_PROMPT,
    LEVELS,
    MODEL,
    RECOLORED,
    SCHEDULE,
    TARGET_PROMPT,
    Graph,
    Node,
    Picture,
    encoded,
    image,
    latent,
    mask,
    node,
    photographed,
    sigmas,
    stock_sample,
)
from still_life import PHOTOS

ANOTHER = PHOTOS["cube"].before.replace("spotted blue cube", "shiny red ball")


def inpaint(class_type: str, **settings: Any) -> Node:  # noqa: ANN401  (JSON)
    """The inputs that both inpainting nodes share."""
    return node(class_type, mask=["hole", 1], kept_from="matched", mask_over_time="constant", dilations=3, **settings)


def blend_mask(**settings: Any) -> Node:  # noqa: ANN401  (JSON)
    """The mask of the photo's solid, prepared for inpainting."""
    base = {"mask": ["shape", 0], "invert": False, "fill_holes": False, "grow": 0, "feather": 0, "snap": 0.0}
    return node("RetraceBlendMask", **{**base, "latent_size": "maximum", **settings})


def hole(name: str, after: str = "") -> Graph:
    """A photo, its edit's prompt, and the place to paint."""
    return {**encoded(name, after), "hole": blend_mask(grow=12)}


INPAINTING = (
    Picture(
        "RetraceLatentBlend",
        {
            **hole("cube", ANOTHER),
            "sigmas": sigmas(),
            "solver": node("KSamplerSelect", sampler_name="dpmpp_2m"),
            "blend": inpaint("RetraceLatentBlend", sampler=["solver", 0]),
            "painted": stock_sample(["blend", 0], LEVELS, ["encode", 0]),
        },
        (image("photo", "photo"), mask("mask", "hole"), latent("dpmpp_2m, blended", "painted")),
    ),
    Picture(
        "RetraceLatentBlendSample",
        {
            **hole("yellow cube"),
            "painted": inpaint(
                "RetraceLatentBlendSample",
                **{"model": MODEL, "positive": TARGET_PROMPT, "negative": EMPTY_PROMPT, "latent": ["encode", 0]},
                **SCHEDULE,
                **{"seed": 0, "cfg": CFG, "strength": 1.0, "eta": 0.0},
            ),
        },
        (image("photo", "photo"), mask("mask", "hole"), latent("painted", "painted")),
    ),
    Picture(
        "RetraceBlendMask",
        {**photographed("cube"), "ready": blend_mask(grow=10, feather=16)},
        (mask("mask", "shape"), mask("grown and feathered", "ready"), mask("latent_mask", "ready", 1)),
    ),
    Picture(
        "RetracePixelComposite",
        {
            **RECOLORED,
            "hole": blend_mask(grow=2),
            "composite": node(
                "RetracePixelComposite",
                source=["photo", 0],
                edited=["decode", 0],
                mask=["hole", 0],
                feather=2,
                match_colour=False,
                blend="feather",
            ),
        },
        (image("photo", "photo"), image("edited", "decode"), image("composite", "composite")),
    ),
    Picture(
        "RetraceWorkingCrop",
        {
            **photographed("cone"),
            "crop": node("RetraceWorkingCrop", image=["photo", 0], side=128, context=0.5, mask=["shape", 0]),
        },
        (image("photo", "photo"), mask("mask", "shape"), image("image", "crop"), mask("mask of the part", "crop", 1)),
    ),
)
