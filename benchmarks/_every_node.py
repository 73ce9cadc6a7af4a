"""The cases of `same_bytes`: every stored workflow of ours on the miniatures, and every node with each method and variant."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from _graphs import Graphs, Prompt
from _host import ROOT
from tiny_models.photos import PHOTOS

STEPS, SIDE = 10, 128
FLUX = "9 Invert and edit, Flux"
SOURCE, TARGET = PHOTOS["ball"].before, PHOTOS["ball"].after
"""A red ball, which becomes blue."""
TARGETS = f"{TARGET}\n{SOURCE.replace('red ball', 'yellow cone')}"
WORDS = {"Source prompt": SOURCE, "Target prompt": TARGET, "Prompt": TARGET.replace("ball", "cube")}
CHECKPOINTS = {
    "retrace_inpaint_checkpoint": "tiny_inpainting",
    "retrace_depth_to_image": "tiny_depth",
}


def miniature(name: str, prompt: Prompt) -> Prompt:
    """A stored workflow's prompt adapted to the miniature: its checkpoint, image and prompts, and a fifth of the steps."""
    for node in prompt.values():
        inputs, title = node["inputs"], node["_meta"]["title"]
        inputs |= {
            "CheckpointLoaderSimple": {"ckpt_name": f"{CHECKPOINTS.get(name, 'tiny_sd15')}.safetensors"},
            "ControlNetLoader": {"control_net_name": "tiny_controlnet.safetensors"},
            "LoadImage": {"image": "photo.png"},
            "LoadImageMask": {"image": "photo.png"},
            "ImageScale": {"width": SIDE, "height": SIDE},
            "ImageScaleToTotalPixels": {"megapixels": (SIDE / 1024) ** 2},
            "EmptyLatentImage": {"width": SIDE, "height": SIDE},
        }.get(node["class_type"], {})
        if title in WORDS:
            inputs["value" if "value" in inputs else "text"] = WORDS[title]
        if node["class_type"] == "RetracePromptToPrompt":
            if not isinstance(inputs["source_prompt"], list):
                inputs |= {"source_prompt": SOURCE, "target_prompts": TARGETS}
            if inputs["blend_words"]:
                inputs |= {"blend_words": "ball"}
        if node["class_type"] == "RetraceAttentionMask":
            inputs |= {"method.words": "ball"}
        for step in ("steps", "start_step", "start_at_step"):
            if isinstance(inputs.get(step), int) and node["class_type"] != "RetraceMasaCtrl":
                inputs[step] = inputs[step] // 5
        if title == "Start step":
            inputs["value"] = inputs["value"] // 5
    return prompt


def stored_workflows(graphs: Graphs) -> Iterator[tuple[str, Prompt]]:
    """Every template for Stable Diffusion with a node of ours, those of earlier versions among them."""
    saved = (ROOT / "tests" / "saved_workflows").glob("*/*.json")
    for path in (*sorted((ROOT / "workflows").glob("*.json")), *sorted(saved)):
        if path.name == "nodes.json" or path.stem == FLUX:
            continue
        prompt = graphs.stored(path)
        if any(content["class_type"].startswith("Retrace") for content in prompt.values()):
            yield path.stem, miniature(path.stem, prompt)


def node(kind: str, **inputs: object) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


def link(name: str, output: int = 0) -> list[Any]:
    return [name, output]


def text(words: str) -> dict[str, Any]:
    return node("CLIPTextEncode", clip=link("checkpoint", 1), text=words)


def base(checkpoint: str = "tiny_sd15") -> Prompt:
    """The common start of the cases: a photo with a mask, its latent, a batch of two, and prompts."""
    return {
        "checkpoint": node("CheckpointLoaderSimple", ckpt_name=f"{checkpoint}.safetensors"),
        "photo": node("LoadImage", image="photo.png"),
        "latent": node("VAEEncode", pixels=link("photo"), vae=link("checkpoint", 2)),
        "two": node("RepeatLatentBatch", samples=link("latent"), amount=2),
        "source": text(SOURCE),
        "target": text(TARGET),
        "empty": text(""),
        "invert": node(
            "RetraceDDIMInvert", **MODEL, positive=link("source"), negative=link("empty"), latent=link("latent"),
            steps=STEPS, cfg=1.0, fixed_point_iterations=1, spacing="leading", terminal="clean", acceleration="none",
        ),
    }  # fmt: skip


MODEL = {"model": link("checkpoint")}
GUIDED = {**MODEL, "positive": link("target"), "negative": link("empty")}
SCHEDULE = {"steps": STEPS, "spacing": "leading", "terminal": "clean"}
DDIM_SAMPLE = {
    **GUIDED, **SCHEDULE, "latent": link("latent"), "seed": 5, "cfg": 3.0, "start_step": 2, "end_step": 1000,
    "add_noise": True, "eta": 0.0, "same_noise": False, "row_seeds": "",
}  # fmt: skip
EDIT = {
    **GUIDED, "trajectory": link("invert"), "cfg": 4.0, "start_step": 0, "hold_source": True, "pull_back": 0.0,
    "pull_back_below": 400, "pull_back_quantile": 0.7, "pull_back_dilation": 1,
}  # fmt: skip
PROMPT_TO_PROMPT = {
    **MODEL, "clip": link("checkpoint", 1), "source_prompt": SOURCE, "target_prompts": TARGET, "mode": "auto",
    "cross_replace": 0.8, "self_replace": 0.4, "reweight": "", "blend_words": "", "blend_threshold": 0.3,
    "blend_start": 0.2, "subtract_words": "", "subtract_threshold": 0.3, "cross_replace_words": "",
    "self_replace_layers": "half", "blend_layers": "quarter",
}  # fmt: skip
BLEND_SAMPLE = {
    **GUIDED, **SCHEDULE, "latent": link("latent"), "seed": 3, "cfg": 5.0, "strength": 0.8, "kept_from": "matched",
    "mask_over_time": "constant", "dilations": 3, "eta": 0.0, "inherit_noise": False, "mask": link("photo", 1),
}  # fmt: skip
NULL_TEXT = {
    **MODEL, "trajectory": link("invert"), "positive": link("source"), "negative": link("empty"), "cfg": 4.0,
    "inner_steps": 2, "learning_rate": 0.01, "epsilon": 1e-5, "method": "fast", "residual": False,
}  # fmt: skip
INVERT = {**MODEL, **SCHEDULE, "positive": link("source"), "negative": link("empty"), "latent": link("latent")}


def cases() -> Iterator[tuple[str, Prompt]]:
    """Every node beyond what the workflows use: each method, each schedule variant, batches, other predictions."""
    for name, added in (
        *schedules(), *inversions(), *reconstructions(), *edits(), *inpainting(), *pixels(),
    ):  # fmt: skip
        yield name, {**base(), **added}
    for name, added in (*inversions(), *reconstructions(), *edits(), *inpainting()):
        if "0" in name or "blend" in name:
            yield f"v: {name}", {**base("tiny_sd2_v"), **added}


Added = Iterator[tuple[str, Mapping[str, Any]]]


def schedules() -> Added:
    for spacing in ("leading", "trailing", "linspace"):
        for terminal in ("clean", "first"):
            plan = {"spacing": spacing, "terminal": terminal}
            yield (
                f"schedule {spacing} {terminal}",
                {
                    "sigmas": node("RetraceDDIMScheduler", **MODEL, steps=STEPS, **plan, start_step=2, end_step=9),
                    "plot": node("RetraceSchedulePlot", **MODEL, steps=STEPS, **plan),
                    "sample": node("RetraceDDIMSample", **{**DDIM_SAMPLE, **plan}),
                    "invert": node(
                        "RetraceDDIMInvert",
                        **{**INVERT, **plan},
                        cfg=1.0,
                        fixed_point_iterations=0,
                        acceleration="none",
                    ),
                    "edit": node("RetraceEditSample", **EDIT),
                },
            )
    for name, changes in {
        "window": {"end_step": 7},
        "eta": {"eta": 0.6, "latent": link("two")},
        "row seeds": {"row_seeds": "7, 3", "eta": 1.0, "latent": link("two")},
        "same noise": {"same_noise": True, "latent": link("two")},
        "without noise": {"add_noise": False, "latent": link("invert", 1), "start_step": 0},
    }.items():
        yield f"DDIM Sample, {name}", {"sample": node("RetraceDDIMSample", **{**DDIM_SAMPLE, **changes})}
    limits = (
        {"limit": "none"},
        {"limit": "clip", "limit.range": 1.0},
        {"limit": "dynamic threshold", "limit.ratio": 0.9, "limit.maximum": 1.0},
    )
    for at, limit in enumerate(limits):
        yield (
            f"Sampler DDIM {limit['limit']}",
            {
                "sampler": node("RetraceSamplerDDIM", eta=0.5 * at, **limit, recompute_eps=at > 0),
                "sigmas": node("RetraceDDIMScheduler", **MODEL, **SCHEDULE, start_step=1, end_step=1000),
                "sample": custom("sampler"),
            },
        )


def custom(sampler: str, latent: str = "latent") -> dict[str, Any]:
    return node(
        "SamplerCustom", **GUIDED, add_noise=True, noise_seed=4, cfg=4.0, sampler=link(sampler), sigmas=link("sigmas"),
        latent_image=link(latent),
    )  # fmt: skip


def inversions() -> Added:
    for acceleration in ("none", "two_point", "mean", "anderson"):
        for iterations in (0, 3):
            yield (
                f"DDIM Invert {acceleration} {iterations}",
                {
                    "invert": node(
                        "RetraceDDIMInvert", **{**INVERT, "latent": link("two")}, cfg=1.5,
                        fixed_point_iterations=iterations, acceleration=acceleration,
                    ),
                    "state": node("RetraceTrajectoryLatent", trajectory=link("invert"), start_step=3),
                    "edit": node("RetraceEditSample", **EDIT),
                },
            )  # fmt: skip
    for method in ("o-belm", "bdia", "edict"):
        for start in (0, 3):
            yield (
                f"Exact Invert {method} {start}",
                {
                    "invert": node("RetraceExactInvert", **INVERT, method=method, cfg=1.5, mixing=0.93, gamma=1.0),
                    "edit": node("RetraceEditSample", **{**EDIT, "start_step": start}),
                },
            )
    for solver in ("ddpm", "dpm++ 2m"):
        for start in (0, 3):
            yield (
                f"Edit Friendly Invert {solver} {start}",
                {
                    "invert": node(
                        "RetraceEditFriendlyInvert", **{**INVERT, "latent": link("two" if start else "latent")}, seed=2,
                        cfg=3.5, solver=solver, eta=1.0,
                    ),
                    "edit": node("RetraceEditSample", **{**EDIT, "start_step": start}),
                },
            )  # fmt: skip
    yield (
        "Edit Friendly Invert, eta 0.5",
        {
            "invert": node("RetraceEditFriendlyInvert", **INVERT, seed=2, cfg=3.5, solver="ddpm", eta=0.5),
            "edit": node("RetraceEditSample", **EDIT),
        },
    )
    yield (
        "preview and state",
        {
            "grid": node(
                "RetraceTrajectoryPreview", trajectory=link("invert"), vae=link("checkpoint", 2), pictures=5, columns=3
            ),
            "state": node(
                "RetraceTrajectoryLatent", trajectory=link("invert"), start_step=4, **MODEL, latent=link("latent")
            ),
            "saved": node("RetraceSaveTrajectory", trajectory=link("invert"), filename_prefix="same/bytes"),
        },
    )


def reconstructions() -> Added:
    for method in ("fast", "reference"):
        for residual in (False, True):
            yield (
                f"Null Text Optimize {method} {residual} 0",
                {
                    "null": node("RetraceNullTextOptimize", **{**NULL_TEXT, "method": method, "residual": residual}),
                    "words": node("RetraceNullTextConditioning", trajectory=link("null"), negative=link("empty")),
                    "state": node("RetraceTrajectoryLatent", trajectory=link("null"), start_step=0),
                    "stock": node(
                        "KSamplerAdvanced", **{**GUIDED, "negative": link("null", 1)}, add_noise="disable", noise_seed=0,
                        steps=STEPS, cfg=4.0, sampler_name="euler", scheduler="ddim_uniform", latent_image=link("state"),
                        start_at_step=0, end_at_step=1000, return_with_leftover_noise="disable",
                    ),
                    "edit": node(
                        "RetraceEditSample",
                        **{**{name: value for name, value in EDIT.items() if name != "negative"}, "trajectory": link("null")},
                    ),
                },
            )  # fmt: skip
    for shrinkage in ("soft", "hard"):
        yield (
            f"Negative Prompt, Proximal Guidance {shrinkage} 0",
            {
                "negative": node(
                    "RetraceNegativePrompt", source=link("source"), empty=link("empty"), interpolation=0.3
                ),
                "proximal": node("RetraceProximalGuidance", **MODEL, shrinkage=shrinkage, quantile=0.7),
                "edit": node(
                    "RetraceEditSample",
                    **{**EDIT, "model": link("proximal"), "negative": link("negative"), "pull_back": 0.6},
                ),
            },
        )


def edits() -> Added:
    for name, changes in {
        "auto 0": {},
        "refine": {"mode": "refine", "target_prompts": f"{TARGET} at night"},
        "replace, reweighted": {"mode": "replace", "reweight": "blue: 2.0"},
        "blend": {"blend_words": "ball"},
        "subtract, words, full": {
            "subtract_words": "ball", "cross_replace_words": "blue: 0.4", "self_replace_layers": "full",
            "blend_layers": "half",
        },
        "two targets": {"target_prompts": TARGETS},
        "blend mask": {"blend_words": "ball", "blend_mask": link("photo", 1)},
    }.items():  # fmt: skip
        yield (
            f"Prompt to Prompt {name}",
            {
                "control": node("RetracePromptToPrompt", **{**PROMPT_TO_PROMPT, **changes}),
                "edit": node("RetraceEditSample", **{**EDIT, "model": link("control"), "positive": link("control", 1)}),
            },
        )
    masks = {"source_mask": link("photo", 1), "target_mask": link("photo", 1)}
    for name, patch in {
        "MasaCtrl 0": node("RetraceMasaCtrl", **MODEL, start_step=2, start_layer=0.5),
        "MasaCtrl masked": node("RetraceMasaCtrl", **MODEL, start_step=2, start_layer=0.5, **masks),
        "Plug and Play 0": node("RetracePlugAndPlay", **MODEL, attention_fraction=0.5, feature_fraction=0.8),
    }.items():
        yield (
            name,
            {
                "patched": patch,
                "edit": node("RetraceEditSample", **{**EDIT, "model": link("patched"), "source": link("source")}),
            },
        )
    for name, changes in {
        "free source": {"hold_source": False, "source": link("source")},
        "pull back": {"pull_back": 0.5},
        "start 0 of 4": {"start_step": 4, "source": link("source")},
    }.items():
        yield f"Edit Sample {name}", {"edit": node("RetraceEditSample", **{**EDIT, **changes})}
    for method in (
        {"method": "words", "method.words": "ball"},
        {"method": "difference", "method.target_prompt": TARGET},
    ):
        for threshold in ("otsu", "value"):
            yield (
                f"Attention Mask {method['method']} {threshold}",
                {
                    "mask": node(
                        "RetraceAttentionMask", **MODEL, clip=link("checkpoint", 1), trajectory=link("invert"), prompt=SOURCE,
                        **method, levels=4, cleanest=0.2, noisiest=0.7, threshold=threshold, threshold_value=0.5,
                        grow=2 if threshold == "otsu" else 0, feather=3 if threshold == "otsu" else 0,
                    )
                },
            )  # fmt: skip


def inpainting() -> Added:
    for name, changes in {
        "legacy": {"kept_from": "legacy"},
        "legacy 1": {"kept_from": "legacy", "strength": 1.0},
        "matched": {},
        "matched shrinking": {"mask_over_time": "shrinking"},
        "pure noise": {"strength": 1.0, "eta": 0.5},
        "change map": {"mask_over_time": "change map"},
        "trajectory": {"kept_from": "trajectory", "trajectory": link("invert")},
        "trajectory inherited": {"kept_from": "trajectory", "trajectory": link("invert"), "inherit_noise": True},
        "first": {"terminal": "first", "spacing": "trailing"},
    }.items():
        yield f"blend sample {name}", {"blend": node("RetraceLatentBlendSample", **{**BLEND_SAMPLE, **changes})}
    for source, extra in {"matched": {}, "trajectory": {"trajectory": link("invert")}, "legacy": {}}.items():
        for sampler in ("euler", "dpmpp_2m", "ddim") if source != "legacy" else ("ddim",):
            inner = (
                node("RetraceSamplerDDIM", eta=0.3, limit="none", recompute_eps=False)
                if sampler == "ddim"
                else node("KSamplerSelect", sampler_name=sampler)
            )
            yield (
                f"blend {source} {sampler}",
                {
                    "inner": inner,
                    "sampler": node(
                        "RetraceLatentBlend", sampler=link("inner"), kept_from=source, mask_over_time="shrinking",
                        dilations=2, mask=link("photo", 1), **extra,
                    ),
                    "sigmas": node("RetraceDDIMScheduler", **MODEL, **SCHEDULE, start_step=1, end_step=1000),
                    "sample": custom("sampler"),
                },
            )  # fmt: skip


def pixels() -> Added:
    for name, changes in {
        "plain": {},
        "grown": {"grow": 4, "feather": 3, "image": link("photo")},
        "inverted": {"invert": True, "grow": -2, "latent_size": "area"},
        "snapped": {"fill_holes": True, "feather": 6, "snap": 0.2},
    }.items():
        plan = {"invert": False, "fill_holes": False, "grow": 0, "feather": 0, "snap": 0.0, "latent_size": "maximum"}
        yield f"Blend Mask {name}", {"mask": node("RetraceBlendMask", mask=link("photo", 1), **{**plan, **changes})}
    for blend in ("feather", "poisson"):
        for match in (False, True):
            yield (
                f"Pixel Composite {blend} {match}",
                {
                    "edited": node("ImageInvert", image=link("photo")),
                    "composite": node(
                        "RetracePixelComposite", source=link("photo"), edited=link("edited"), mask=link("photo", 1),
                        feather=4, match_colour=match, blend=blend,
                    ),
                    "compare": node(
                        "RetraceCompareImages", image_a=link("composite"), image_b=link("photo"),
                        region="outside" if match else "all", brightest_at=0.25, mask=link("photo", 1),
                    ),
                },
            )  # fmt: skip
    for method in PREPROCESSORS:
        inputs = {name: value for name, value in method.items() if name != "method"}
        yield (
            f"Preprocessor {method['method']}",
            {
                "hint": node(
                    "RetracePreprocessor", image=link("photo"), method=method["method"], resolution=192,
                    **{f"method.{name}": value for name, value in inputs.items()},
                )
            },
        )  # fmt: skip
    yield "Draw Pose", {"pose": node("RetraceDrawPose", json=POSE, width=256, height=192, min_confidence=0.3, body=True,
                                     hands=True, face=True, wide_limbs=False)}  # fmt: skip


PREPROCESSORS: tuple[dict[str, Any], ...] = (
    {"method": "canny", "low_threshold": 100.0, "high_threshold": 200.0, "aperture": 3, "l2_gradient": False},
    {"method": "canny_auto", "spread": 0.33},
    {"method": "canny_pyramid", "low_threshold": 64.0, "high_threshold": 128.0},
    {"method": "soft_edge", "low": 10.0, "high": 60.0, "sigma": 1.0, "scales": 3, "softness": 1.2, "thin": True},
    {"method": "scribble", "threshold": 127, "invert": False},
    {"method": "scribble_xdog", "threshold": 32.0, "sigma": 0.5, "wide_sigma": 5.0},
    {"method": "lineart", "sigma": 6.0, "threshold": 8.0},
    {"method": "binary", "threshold": 127, "invert": False},
    {"method": "binary_otsu", "invert": True},
    {"method": "binary_adaptive", "block_size": 31, "offset": 5.0, "gaussian": True, "invert": False},
    {"method": "lines_lsd", "min_length": 0.03, "thickness": 1},
    {"method": "lines_hough", "low_threshold": 50.0, "high_threshold": 150.0, "votes": 50, "min_length": 0.06,
     "max_gap": 0.01, "thickness": 1},
    {"method": "color_grid", "cell_size": 64, "average": True},
    {"method": "shuffle", "seed": 3, "scale": 64},
    {"method": "tile_pyramid", "levels": 3},
    {"method": "tile_simple", "scale": 2.0, "blur": 2.0},
    {"method": "tile_guided", "scale": 2.0, "blur": 2.0, "radius": 7, "eps": 0.01},
    {"method": "recolor_luminance", "gamma": 1.2},
    {"method": "recolor_intensity", "gamma": 1.2},
    {"method": "blur", "sigma": 9.0},
    {"method": "inpaint", "mask": link("photo", 1), "threshold": 0.5, "fill": "black"},
    {"method": "normal_map", "relief": 0.5, "smoothing": 1.0, "background": 0.1, "convention": "opengl"},
)  # fmt: skip
POSE = json.dumps(
    {
        "canvas_width": 256,
        "canvas_height": 192,
        "people": [
            {"pose_keypoints_2d": [v for at in range(18) for v in (20.0 + 11 * at, 30.0 + (at * 37) % 130, 1.0)]}
        ],
    }
)
