"""The help pages' pictures for the nodes that edit, inpaint, and measure what an edit changed."""

from __future__ import annotations

from typing import Any

from picture_parts import (
    CLIP,
    EDITED,
    EMPTY_PROMPT,
    ENCODED,
    INVERTED,
    MODEL,
    PATH,
    PHOTO,
    SCHEDULE,
    SOURCE,
    TARGET,
    TARGET_PROMPT,
    VAE,
    Graph,
    Node,
    Picture,
    edit,
    image,
    latent,
    mask,
    node,
    sample,
    sigmas,
    state,
    stock_sample,
    text,
)

OTHER_SHAPE = "a large yellow square on a purple background"
OTHER_SCENE = "a large red triangle on a green background"
OTHER_BACKGROUND = "a large green triangle on a blue background"
INPAINTED = "a large green circle on a purple background"


def two_prompts(target: str, **settings: Any) -> Node:  # noqa: ANN401  (JSON)
    """Prompt to Prompt from the source prompt; without settings it only pairs the two prompts."""
    base = {"model": MODEL, "clip": CLIP, "source_prompt": SOURCE, "target_prompts": target, "mode": "auto"}
    attention = {"cross_replace": 0.0, "self_replace": 0.0, "self_replace_layers": "half", "cross_replace_words": ""}
    words = {"reweight": "", "blend_words": "", "blend_threshold": 0.6, "blend_start": 0.2}
    less = {"subtract_words": "", "subtract_threshold": 0.3, "blend_layers": "quarter"}
    return node("RetracePromptToPrompt", **{**base, **attention, **words, **less, **settings})


def controlled_edit(node_id: str, label: str, words: str, cfg: float, **settings: Any) -> Picture:  # noqa: ANN401  (JSON)
    """An edit of the photo toward another prompt, without and with the node that keeps it close to the photo."""
    graph = {
        **INVERTED,
        "target": text(words),
        "pair": two_prompts(words),
        "control": node(node_id, model=["pair", 0], **settings),
        "swap": edit(cfg=cfg),
        "edit": edit(["pair", 1], model=["control", 0], cfg=cfg),
    }
    return Picture(node_id, graph, (image("photo", "photo"), latent("without control", "swap"), latent(label, "edit")))


def inpaint(class_type: str, **settings: Any) -> Node:  # noqa: ANN401  (JSON)
    """The inputs that both inpainting nodes share."""
    return node(class_type, mask=["hole", 1], kept_from="matched", mask_over_time="constant", dilations=3, **settings)


def blend_mask(source: str, **settings: Any) -> Node:  # noqa: ANN401  (JSON)
    """A mask prepared for inpainting."""
    base = {"mask": [source, 0], "invert": False, "fill_holes": False, "grow": 0, "feather": 0, "snap": 0.0}
    return node("RetraceBlendMask", **{**base, "latent_size": "maximum", **settings})


HOLE: Graph = {**ENCODED, "hole": blend_mask("shape", grow=8, fill_holes=True), "target": text(INPAINTED)}

EDITING = (
    Picture(
        "RetraceEditSample",
        {**INVERTED, "edit": edit(["pair", 1], model=["pair", 0], start_step=9), "pair": two_prompts(TARGET)},
        (image("photo", "photo"), latent("source, held", "edit", 1), latent("edit", "edit")),
    ),
    Picture(
        "RetracePromptToPrompt",
        {
            **INVERTED,
            "control": two_prompts(TARGET, cross_replace=0.8, self_replace=0.8, blend_words="triangle"),
            "swap": edit(),
            "edit": edit(["control", 1], model=["control", 0]),
        },
        (image("photo", "photo"), latent("without control", "swap"), latent("Prompt to Prompt", "edit")),
    ),
    controlled_edit("RetraceMasaCtrl", "MasaCtrl", OTHER_SHAPE, 1.0, start_step=0, start_layer=0.0),
    controlled_edit(
        "RetracePlugAndPlay", "Plug and Play", OTHER_SCENE, 5.0, attention_fraction=0.5, feature_fraction=0.8
    ),
    Picture(
        "RetraceAttentionMask",
        {
            **INVERTED,
            "find": node(
                "RetraceAttentionMask",
                model=MODEL,
                clip=CLIP,
                trajectory=PATH,
                prompt=SOURCE,
                **{"method": "words", "method.words": "triangle"},
                levels=8,
                cleanest=0.2,
                noisiest=0.7,
                threshold="otsu",
                threshold_value=0.5,
                grow=0,
                feather=0,
            ),
        },
        (image("photo", "photo"), image('"triangle"', "find"), mask("mask", "find", 1)),
    ),
)

INPAINTING = (
    Picture(
        "RetraceLatentBlend",
        {
            **HOLE,
            "sigmas": sigmas(),
            "euler": node("KSamplerSelect", sampler_name="dpmpp_2m"),
            "blend": inpaint("RetraceLatentBlend", sampler=["euler", 0]),
            "painted": stock_sample(["blend", 0]),
        },
        (image("photo", "photo"), mask("mask", "hole"), latent("dpmpp_2m, blended", "painted")),
    ),
    Picture(
        "RetraceLatentBlendSample",
        {
            **HOLE,
            "painted": inpaint(
                "RetraceLatentBlendSample",
                **{"model": MODEL, "positive": TARGET_PROMPT, "negative": EMPTY_PROMPT, "latent": ["encode", 0]},
                **SCHEDULE,
                **{"seed": 0, "cfg": 5.0, "strength": 1.0, "eta": 0.0},
            ),
        },
        (image("photo", "photo"), mask("mask", "hole"), latent("painted", "painted")),
    ),
    Picture(
        "RetraceBlendMask",
        {**PHOTO, "ready": blend_mask("shape", grow=10, feather=8)},
        (mask("mask", "shape"), mask("grown and feathered", "ready"), mask("latent_mask", "ready", 1)),
    ),
    Picture(
        "RetracePixelComposite",
        {
            **INVERTED,
            "target": text(OTHER_BACKGROUND),
            "state": state(10),
            "edit": sample(["state", 0], TARGET_PROMPT, cfg=3.0, start_step=10),
            "decode": node("VAEDecode", samples=["edit", 0], vae=VAE),
            "hole": blend_mask("shape", grow=2),
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
        "RetraceEditImage",
        {
            **PHOTO,
            "checkpoint": node("CheckpointLoaderSimple", ckpt_name="tiny_sd15.safetensors"),
            "large": node(
                "ImageScale", image=["photo", 0], upscale_method="lanczos", width=384, height=384, crop="disabled"
            ),
            "easy": node(
                "RetraceEditImage",
                model=MODEL,
                clip=CLIP,
                vae=VAE,
                image=["large", 0],
                before=SOURCE,
                after=TARGET,
                change="auto",
                strength=1.0,
                seed=0,
                steps=20,
                cfg=0.0,
                working_size=128,
            ),
        },
        (image("photo", "large"), image("image", "easy"), mask("mask", "easy", 2)),
    ),
    Picture(
        "RetraceWorkingCrop",
        {
            **PHOTO,
            "large": node(
                "ImageScale", image=["photo", 0], upscale_method="lanczos", width=512, height=384, crop="disabled"
            ),
            "spot": node("SolidMask", value=1.0, width=60, height=40),
            "none": node("SolidMask", value=0.0, width=512, height=384),
            "hole": node("MaskComposite", destination=["none", 0], source=["spot", 0], x=170, y=150, operation="add"),
            "crop": node("RetraceWorkingCrop", image=["large", 0], side=128, context=0.5, mask=["hole", 0]),
        },
        (image("photo", "large"), mask("mask", "hole"), image("image", "crop"), mask("mask of the part", "crop", 1)),
    ),
    Picture(
        "RetraceChangedRegion",
        {
            **INVERTED,
            "target": text(TARGET),
            "state": state(10),
            "edit": sample(["state", 0], TARGET_PROMPT, cfg=3.0, start_step=10),
            "decode": node("VAEDecode", samples=["edit", 0], vae=VAE),
            "back": node("VAEDecode", samples=["encode", 0], vae=VAE),
            "region": node(
                "RetraceChangedRegion", edited=["decode", 0], round_trip=["back", 0], smallest=0.06, grow=1, feather=2
            ),
        },
        (image("round_trip", "back"), image("edited", "decode"), mask("mask", "region")),
    ),
    Picture(
        "RetraceDepthToImage",
        {
            **ENCODED,
            "checkpoint": node("CheckpointLoaderSimple", ckpt_name="tiny_depth.safetensors"),
            "near": blend_mask("shape", feather=16),
            "depth": node("MaskToImage", mask=["near", 0]),
            "condition": node(
                "RetraceDepthToImage",
                model=MODEL,
                positive=TARGET_PROMPT,
                negative=EMPTY_PROMPT,
                depth=["depth", 0],
                latent=["encode", 0],
            ),
            "lens": node("DepthOfConditioning", conditioning=["condition", 1]),
        },
        (image("depth map", "depth"), image("as the model gets it", "lens")),
    ),
)

MEASURING = (
    Picture(
        "RetraceCompareImages",
        {
            **EDITED,
            "decode": node("VAEDecode", samples=["edit", 0], vae=VAE),
            "compare": node(
                "RetraceCompareImages", image_a=["photo", 0], image_b=["decode", 0], region="all", brightest_at=0.25
            ),
        },
        (image("image_a", "photo"), image("image_b", "decode"), image("heat_map", "compare", 2)),
    ),
)
