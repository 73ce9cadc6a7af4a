"""What the pictures in the help pages show: for each node a small graph of the API format, and its outputs with labels.

All of them edit the shipped picture with the shipped miniature model, in few steps.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Node = dict[str, Any]
Graph = dict[str, Node]
Link = list[Any]
"""[node id, output]"""

STEPS = 20
SOURCE = "a large white triangle on a purple background"
TARGET = "a large green triangle on a purple background"
OTHER_SHAPE = "a large yellow square on a purple background"
OTHER_SCENE = "a large red triangle on a green background"
OTHER_BACKGROUND = "a large green triangle on a blue background"
INPAINTED = "a large green circle on a purple background"
SAVED = "trajectories/photo"
DEPTH_MODEL = "miniature"


@dataclass(frozen=True)
class Shown:
    """An output of the graph, and what is written under its picture."""

    label: str
    output: Link
    kind: Literal["IMAGE", "MASK", "LATENT"]


@dataclass(frozen=True)
class Picture:
    """The picture in one node's help."""

    node_id: str
    graph: Graph
    shown: tuple[Shown, ...]


def image(label: str, node_id: str, output: int = 0) -> Shown:
    """An IMAGE as it is."""
    return Shown(label, [node_id, output], "IMAGE")


def mask(label: str, node_id: str, output: int = 0) -> Shown:
    """A MASK as white on black."""
    return Shown(label, [node_id, output], "MASK")


def latent(label: str, node_id: str, output: int = 0) -> Shown:
    """A LATENT as the VAE decodes it."""
    return Shown(label, [node_id, output], "LATENT")


# --- the parts that the graphs have in common ---


def node(class_type: str, **inputs: Any) -> Node:  # noqa: ANN401  (JSON)
    """A node of the API format."""
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
    """DDIM from a LATENT; from its first step, if the settings name no other."""
    base = {"model": MODEL, "positive": positive, "negative": EMPTY_PROMPT, "latent": start, "seed": 1, "cfg": 1.0}
    rest = {"start_step": 0, "end_step": 1000, "add_noise": False, "eta": 0.0, "same_noise": False, "row_seeds": ""}
    return node("RetraceDDIMSample", **{**base, **rest, **SCHEDULE, **settings})


def edit(positive: Link = TARGET_PROMPT, **settings: Any) -> Node:  # noqa: ANN401  (JSON)
    """Edit Sample on the trajectory."""
    base = {"model": MODEL, "trajectory": PATH, "positive": positive, "negative": EMPTY_PROMPT, "cfg": 4.0}
    rest = {"start_step": 0, "hold_source": True, "pull_back": 0.0, "pull_back_below": 400}
    return node("RetraceEditSample", **{**base, **rest, "pull_back_quantile": 0.7, "pull_back_dilation": 1, **settings})


def two_prompts(target: str, **settings: Any) -> Node:  # noqa: ANN401  (JSON)
    """Prompt to Prompt from the source prompt; without settings it only pairs the two prompts."""
    base = {"model": MODEL, "clip": CLIP, "source_prompt": SOURCE, "target_prompts": target, "mode": "auto"}
    attention = {"cross_replace": 0.0, "self_replace": 0.0, "self_replace_layers": "half", "cross_replace_words": ""}
    words = {"reweight": "", "blend_words": "", "blend_threshold": 0.6, "blend_start": 0.2}
    less = {"subtract_words": "", "subtract_threshold": 0.3}
    return node("RetracePromptToPrompt", **{**base, **attention, **words, **less, **settings})


def inpaint(class_type: str, **settings: Any) -> Node:  # noqa: ANN401  (JSON)
    """The inputs that both inpainting nodes share."""
    return node(class_type, mask=["hole", 1], kept_from="matched", mask_over_time="constant", dilations=3, **settings)


def stock_sample(sampler: Link, sigmas: Link = LEVELS, **settings: Any) -> Node:  # noqa: ANN401  (JSON)
    """ComfyUI's own SamplerCustom from noise, under the target prompt."""
    prompts = {"positive": TARGET_PROMPT, "negative": EMPTY_PROMPT, "latent_image": ["encode", 0]}
    base = {"model": MODEL, "add_noise": True, "noise_seed": 3, "cfg": 4.0}
    return node("SamplerCustom", **{**base, **prompts, "sampler": sampler, "sigmas": sigmas, **settings})


def advanced_sample(positive: Link, negative: Link, start: Link, start_step: int) -> Node:
    """ComfyUI's own KSamplerAdvanced on a state of the trajectory."""
    schedule = {"steps": STEPS, "scheduler": "ddim_uniform", "start_at_step": start_step, "end_at_step": 10000}
    prompts = {"positive": positive, "negative": negative, "latent_image": start, "cfg": 5.0}
    noise = {"add_noise": "disable", "noise_seed": 0, "return_with_leftover_noise": "disable"}
    return node("KSamplerAdvanced", model=MODEL, sampler_name="euler", **schedule, **prompts, **noise)


def sigmas(steps: int = STEPS) -> Node:
    """A DDIM schedule as SIGMAS."""
    levels = {"steps": steps, "spacing": "leading", "terminal": "clean"}
    return node("RetraceDDIMScheduler", model=MODEL, **levels, start_step=0, end_step=1000)


def ddim(eta: float) -> Node:
    """DDIM as a SAMPLER."""
    return node("RetraceSamplerDDIM", eta=eta, limit="none", recompute_eps=False)


def hint(method: str, **settings: Any) -> Node:  # noqa: ANN401  (JSON)
    """A ControlNet hint of the photo."""
    chosen = {f"method.{name}": value for name, value in settings.items()}
    return node("RetracePreprocessor", image=["photo", 0], method=method, resolution=0, **chosen)


def blend_mask(source: str, **settings: Any) -> Node:  # noqa: ANN401  (JSON)
    """A mask made ready for inpainting."""
    base = {"mask": [source, 0], "invert": False, "fill_holes": False, "grow": 0, "feather": 0, "snap": 0.0}
    return node("RetraceBlendMask", **{**base, "latent_size": "maximum", **settings})


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
HOLE: Graph = {**ENCODED, "hole": blend_mask("shape", grow=8, fill_holes=True), "target": text(INPAINTED)}
OPTIMISED: Graph = {
    **REBUILT,
    "optimise": node(
        "RetraceNullTextOptimize",
        model=MODEL,
        trajectory=PATH,
        positive=SOURCE_PROMPT,
        negative=EMPTY_PROMPT,
        cfg=5.0,
        inner_steps=10,
        learning_rate=0.01,
        epsilon=1e-5,
        method="fast",
        residual=False,
    ),
}
STANDING = [
    *(128, 40, 1, 128, 66, 1, 108, 67, 1, 101, 101, 1, 97, 136, 1, 148, 67, 1, 155, 101, 1, 159, 136, 1),
    *(116, 141, 1, 113, 192, 1, 112, 236, 1, 140, 141, 1, 143, 192, 1, 144, 236, 1),
    *(123, 34, 1, 133, 34, 1, 117, 38, 1, 139, 38, 1),
]
CHEERING = [
    *(128, 40, 1, 128, 66, 1, 108, 67, 1, 86, 42, 1, 70, 14, 1, 148, 67, 1, 172, 46, 1, 190, 18, 1),
    *(116, 141, 1, 98, 188, 1, 86, 234, 1, 140, 141, 1, 158, 188, 1, 170, 234, 1),
    *(123, 34, 1, 133, 34, 1, 117, 38, 1, 139, 38, 1),
]


def draw_pose(points: Sequence[float]) -> Node:
    """The skeleton of one person, drawn larger than the 256 x 256 pixels of its keypoints."""
    people = [{"pose_keypoints_2d": list(points)}]
    frame = json.dumps({"people": people, "canvas_width": 256, "canvas_height": 256})
    parts = {"body": True, "hands": True, "face": True, "wide_limbs": False}
    return node("RetraceDrawPose", json=frame, width=320, height=320, min_confidence=0.3, **parts)


# --- one picture a node, by families ---

SAMPLING = (
    Picture(
        "RetraceSchedulePlot",
        {**ENCODED, "plot": node("RetraceSchedulePlot", model=MODEL, **SCHEDULE)},
        (image("", "plot"),),
    ),
    Picture(
        "RetraceDDIMScheduler",
        {
            **ENCODED,
            "ddim": ddim(0.0),
            **{f"levels {steps}": sigmas(steps) for steps in (4, 8, 20)},
            **{f"steps {steps}": stock_sample(["ddim", 0], [f"levels {steps}", 0]) for steps in (4, 8, 20)},
        },
        tuple(latent(f"{steps} steps", f"steps {steps}") for steps in (4, 8, 20)),
    ),
    Picture(
        "RetraceSamplerDDIM",
        {
            **ENCODED,
            "sigmas": sigmas(),
            **{f"ddim {eta}": ddim(eta) for eta in (0.0, 0.5, 1.0)},
            **{f"eta {eta}": stock_sample([f"ddim {eta}", 0]) for eta in (0.0, 0.5, 1.0)},
        },
        tuple(latent(f"eta {eta:g}", f"eta {eta}") for eta in (0.0, 0.5, 1.0)),
    ),
    Picture(
        "RetraceDDIMSample",
        {
            **EDITED,
            "img2img": sample(["encode", 0], TARGET_PROMPT, cfg=3.0, start_step=11, add_noise=True),
        },
        (image("photo", "photo"), latent("img2img", "img2img"), latent("edit of its inversion", "edit")),
    ),
)

INVERSION = (
    Picture(
        "RetraceDDIMInvert",
        REBUILT,
        (image("photo", "photo"), latent("its noise", "invert", 1), latent("sampled again", "rebuild")),
    ),
    Picture(
        "RetraceTrajectoryLatent",
        {**INVERTED, **{f"state {step}": state(step) for step in (0, 10, 16)}},
        tuple(latent(f"start_step {step} of {STEPS}", f"state {step}") for step in (0, 10, 16)),
    ),
    Picture(
        "RetraceTrajectoryPreview",
        {**INVERTED, "grid": node("RetraceTrajectoryPreview", trajectory=PATH, vae=VAE, pictures=10, columns=5)},
        (image("", "grid"),),
    ),
    Picture(
        "RetraceSaveTrajectory",
        {
            **INVERTED,
            "save": node("RetraceSaveTrajectory", trajectory=PATH, filename_prefix=SAVED),
            **{f"state {step}": state(step, ["save", 0]) for step in (0, 12, 19)},
        },
        tuple(
            latent(f"{words} in the file", f"state {step}")
            for words, step in (("noise", 0), ("half way", 12), ("picture", 19))
        ),
    ),
    Picture(
        "RetraceLoadTrajectory",
        {
            **EDITED,
            "invert": node("RetraceLoadTrajectory", name=f"{SAVED}_00001_.safetensors [output]"),
            "noise": state(0),
            "rebuild": sample(["noise", 0], SOURCE_PROMPT),
        },
        (image("photo", "photo"), latent("rebuilt from the file", "rebuild"), latent("edited from the file", "edit")),
    ),
    Picture(
        "RetraceExactInvert",
        {
            **REBUILT,
            "exact": invert("RetraceExactInvert", method="edict", cfg=5.0, mixing=0.93, gamma=1.0),
            "exactly": edit(SOURCE_PROMPT, trajectory=["exact", 0], cfg=5.0, hold_source=False),
        },
        (image("photo", "photo"), latent("DDIM Invert, cfg 5", "guided"), latent("Exact Invert, cfg 5", "exactly")),
    ),
    Picture(
        "RetraceEditFriendlyInvert",
        {
            **ENCODED,
            "invert": invert("RetraceEditFriendlyInvert", seed=0, cfg=3.5, solver="ddpm", eta=1.0),
            "rebuild": edit(SOURCE_PROMPT, cfg=3.5, hold_source=False),
            "edit": edit(cfg=5.0, start_step=8, hold_source=False),
        },
        (image("photo", "photo"), latent("rebuilt, cfg 3.5", "rebuild"), latent("edited, cfg 5", "edit")),
    ),
)

RECONSTRUCTION = (
    Picture(
        "RetraceNullTextOptimize",
        {**OPTIMISED, "null": advanced_sample(SOURCE_PROMPT, ["optimise", 1], ["noise", 0], 0)},
        (
            image("loss", "optimise", 2),
            image("photo", "photo"),
            latent("cfg 5 without", "guided"),
            latent("cfg 5 with it", "null"),
        ),
    ),
    Picture(
        "RetraceNullTextConditioning",
        {
            **OPTIMISED,
            "embeddings": node("RetraceNullTextConditioning", trajectory=["optimise", 0]),
            "state": state(9),
            "null": advanced_sample(SOURCE_PROMPT, ["embeddings", 0], ["noise", 0], 0),
            "edit": advanced_sample(TARGET_PROMPT, ["embeddings", 0], ["state", 0], 9),
        },
        (image("photo", "photo"), latent("rebuilt by KSampler", "null"), latent("edited by KSampler", "edit")),
    ),
    Picture(
        "RetraceNegativePrompt",
        {
            **REBUILT,
            "negative": node("RetraceNegativePrompt", source=SOURCE_PROMPT, empty=EMPTY_PROMPT, interpolation=0.0),
            "faithful": sample(["noise", 0], SOURCE_PROMPT, negative=["negative", 0], cfg=5.0),
        },
        (
            image("photo", "photo"),
            latent("empty negative, cfg 5", "guided"),
            latent("Negative Prompt, cfg 5", "faithful"),
        ),
    ),
    Picture(
        "RetraceProximalGuidance",
        {
            **INVERTED,
            "negative": node("RetraceNegativePrompt", source=SOURCE_PROMPT, empty=EMPTY_PROMPT, interpolation=0.0),
            "proximal": node("RetraceProximalGuidance", model=MODEL, shrinkage="soft", quantile=0.7),
            "state": state(8),
            "plain": sample(["state", 0], TARGET_PROMPT, negative=["negative", 0], cfg=5.0, start_step=8),
            "edit": sample(
                ["state", 0], TARGET_PROMPT, model=["proximal", 0], negative=["negative", 0], cfg=5.0, start_step=8
            ),
        },
        (image("photo", "photo"), latent("edit without", "plain"), latent("edit with it", "edit")),
    ),
)

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
    Picture(
        "RetraceMasaCtrl",
        {
            **INVERTED,
            "target": text(OTHER_SHAPE),
            "pair": two_prompts(OTHER_SHAPE),
            "control": node("RetraceMasaCtrl", model=["pair", 0], start_step=0, start_layer=0.0),
            "swap": edit(cfg=1.0),
            "edit": edit(["pair", 1], model=["control", 0], cfg=1.0),
        },
        (image("photo", "photo"), latent("without control", "swap"), latent("MasaCtrl", "edit")),
    ),
    Picture(
        "RetracePlugAndPlay",
        {
            **INVERTED,
            "target": text(OTHER_SCENE),
            "pair": two_prompts(OTHER_SCENE),
            "control": node("RetracePlugAndPlay", model=["pair", 0], attention_fraction=0.5, feature_fraction=0.8),
            "swap": edit(cfg=5.0),
            "edit": edit(["pair", 1], model=["control", 0], cfg=5.0),
        },
        (image("photo", "photo"), latent("without control", "swap"), latent("Plug and Play", "edit")),
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

HINTS = (
    Picture(
        "RetracePreprocessor",
        {
            **PHOTO,
            "canny": hint("canny", low_threshold=100, high_threshold=200, aperture=3, l2_gradient=False),
            "soft": hint("soft_edge", low=10, high=60, sigma=1, scales=3, softness=1.2, thin=True),
            "normal": hint("normal_map", relief=0.5, smoothing=1, background=0.1, convention="controlnet"),
        },
        (image("photo", "photo"), image("canny", "canny"), image("soft_edge", "soft"), image("normal_map", "normal")),
    ),
    Picture(
        "RetraceDrawPose",
        {"standing": draw_pose(STANDING), "cheering": draw_pose(CHEERING)},
        (image("standing", "standing"), image("cheering", "cheering")),
    ),
    Picture(
        "RetraceEstimateDepth",
        {
            **PHOTO,
            "depth": node("RetraceEstimateDepth", image=["photo", 0], model=DEPTH_MODEL, stretch="each image"),
        },
        (image("photo", "photo"), image("depth", "depth")),
    ),
    # No pose model is at hand whose weights mean anything: the form of the hint is shown, from given keypoints.
    Picture("RetraceEstimatePose", {"cheering": draw_pose(CHEERING)}, (image("", "cheering"),)),
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

PICTURES = (*SAMPLING, *INVERSION, *RECONSTRUCTION, *EDITING, *INPAINTING, *HINTS, *MEASURING)
