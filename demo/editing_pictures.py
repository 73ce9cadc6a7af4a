"""The help pages' pictures for the nodes that edit, and that measure what an edit changed."""

from __future__ import annotations

from typing import Any

from picture_parts import (
    CFG,
    CHECKPOINT,
    CLIP,
    MODEL,
    PATH,
    RECOLORED,
    STEPS,
    VAE,
    Picture,
    edit,
    image,
    inverted,
    latent,
    mask,
    node,
    photographed,
    two_prompts,
)
from still_life import PHOTOS

BALL, TWO, ON_TILES = (PHOTOS[name] for name in ("ball", "cube and ball", "red cylinder"))


def controlled_edit(node_id: str, name: str, label: str, cfg: float, **settings: Any) -> Picture:  # noqa: ANN401  (JSON)
    """A photo's edit, without and with the node that keeps it close to the photo."""
    graph = {
        **inverted(name),
        "pair": two_prompts(PHOTOS[name].before, PHOTOS[name].after),
        "control": node(node_id, model=["pair", 0], **settings),
        "swap": edit(cfg=cfg),
        "edit": edit(["pair", 1], model=["control", 0], cfg=cfg),
    }
    return Picture(node_id, graph, (image("photo", "photo"), latent("without control", "swap"), latent(label, "edit")))


EDITING = (
    Picture(
        "RetraceEditSample",
        {
            **inverted("red cylinder"),
            "pair": two_prompts(ON_TILES.before, ON_TILES.after, cross_replace=0.8, self_replace=0.4),
            "edit": edit(["pair", 1], model=["pair", 0]),
        },
        (image("photo", "photo"), latent("source, held", "edit", 1), latent("edit", "edit")),
    ),
    Picture(
        "RetracePromptToPrompt",
        {**RECOLORED, "swap": edit()},
        (image("photo", "photo"), latent("without control", "swap"), latent("Prompt to Prompt", "edit")),
    ),
    controlled_edit("RetraceMasaCtrl", "cube", "MasaCtrl", CFG, start_step=4, start_layer=0.625),
    controlled_edit(
        "RetracePlugAndPlay", "ball and cylinder", "Plug and Play", 7.5, attention_fraction=0.5, feature_fraction=0.8
    ),
    Picture(
        "RetraceAttentionMask",
        {
            **inverted("cube and ball"),
            "find": node(
                "RetraceAttentionMask",
                model=MODEL,
                clip=CLIP,
                trajectory=PATH,
                prompt=TWO.before,
                **{"method": "words", "method.words": "cube"},
                levels=8,
                cleanest=0.2,
                noisiest=0.7,
                threshold="otsu",
                threshold_value=0.5,
                grow=0,
                feather=0,
            ),
        },
        (image("photo", "photo"), image('"cube"', "find"), mask("mask", "find", 1)),
    ),
    Picture(
        "RetraceEditImage",
        {
            **photographed("ball"),
            **CHECKPOINT,
            "large": node(
                "ImageScale", image=["photo", 0], upscale_method="lanczos", width=512, height=512, crop="disabled"
            ),
            "easy": node(
                "RetraceEditImage",
                model=MODEL,
                clip=CLIP,
                vae=VAE,
                image=["large", 0],
                before=BALL.before,
                after=BALL.after,
                change="auto",
                strength=1.0,
                seed=0,
                steps=STEPS,
                cfg=0.0,
                working_size=256,
            ),
        },
        (image("photo", "large"), image("image", "easy"), mask("mask", "easy", 2)),
    ),
    Picture(
        "RetraceChangedRegion",
        {
            **RECOLORED,
            "back": node("VAEDecode", samples=["encode", 0], vae=VAE),
            "region": node(
                "RetraceChangedRegion", edited=["decode", 0], round_trip=["back", 0], smallest=0.06, grow=2, feather=4
            ),
        },
        (image("round_trip", "back"), image("edited", "decode"), mask("mask", "region")),
    ),
)

MEASURING = (
    Picture(
        "RetraceCompareImages",
        {
            **RECOLORED,
            "compare": node(
                "RetraceCompareImages", image_a=["photo", 0], image_b=["decode", 0], region="all", brightest_at=0.25
            ),
        },
        (image("image_a", "photo"), image("image_b", "decode"), image("heat_map", "compare", 2)),
    ),
)
