"""The help pages' pictures for the nodes that sample, invert, and reconstruct under guidance."""

from __future__ import annotations

from picture_parts import (
    CFG,
    CHECKPOINT,
    EMPTY_PROMPT,
    LEVELS,
    MODEL,
    PATH,
    SCHEDULE,
    SOURCE_PROMPT,
    START,
    STEPS,
    TARGET_PROMPT,
    VAE,
    Graph,
    Link,
    Node,
    Picture,
    continued,
    edit,
    encoded,
    image,
    invert,
    inverted,
    latent,
    node,
    rebuilt,
    sample,
    sigmas,
    state,
    stock_sample,
    text,
)
from still_life import PHOTOS

SAVED = "trajectories/photo"
HARD = "cube and ball"
"""A photo with much to rebuild: mirror images, spots, boards."""
BLANK: Graph = {
    **CHECKPOINT,
    "blank": node("EmptyLatentImage", width=256, height=256, batch_size=1),
    "target": text(PHOTOS["cube"].before),
    "empty": text(""),
}
"""A new picture's prompt and size."""


def advanced_sample(positive: Link, negative: Link, start: Link, start_step: int) -> Node:
    """ComfyUI's KSamplerAdvanced, starting from a state of the trajectory."""
    schedule = {"steps": STEPS, "scheduler": "ddim_uniform", "start_at_step": start_step, "end_at_step": 10000}
    prompts = {"positive": positive, "negative": negative, "latent_image": start, "cfg": CFG}
    noise = {"add_noise": "disable", "noise_seed": 0, "return_with_leftover_noise": "disable"}
    return node("KSamplerAdvanced", model=MODEL, sampler_name="euler", **schedule, **prompts, **noise)


def ddim(eta: float) -> Node:
    """DDIM as a SAMPLER."""
    return node("RetraceSamplerDDIM", eta=eta, limit="none", recompute_eps=False)


OPTIMIZED: Graph = {
    **rebuilt(HARD),
    "optimize": node(
        "RetraceNullTextOptimize",
        model=MODEL,
        trajectory=PATH,
        positive=SOURCE_PROMPT,
        negative=EMPTY_PROMPT,
        cfg=CFG,
        inner_steps=10,
        learning_rate=0.01,
        epsilon=1e-5,
        method="fast",
        residual=False,
    ),
}

STORED: Graph = {
    **inverted("ball"),
    "save": node("RetraceSaveTrajectory", trajectory=PATH, filename_prefix=SAVED),
}

NOISE_ENDS = {0: "rebuilding", 6: "editing", 12: "editing"}
"""start_step -> the guider that continues from there."""


def guider(positive: Link, cfg: float) -> Node:
    """Core's, on the miniature."""
    return node("CFGGuider", model=MODEL, positive=positive, negative=EMPTY_PROMPT, cfg=cfg)


def sampled_on(noise: str, guided: str) -> Node:
    """Core's sampler from what Trajectory Noise gives."""
    given = {"noise": [noise, 0], "latent_image": [noise, 1], "sigmas": [noise, 2]}
    return node("SamplerCustomAdvanced", guider=[guided, 0], sampler=["euler", 0], **given)


def from_source(model: Link) -> Node:
    """An edit from a state of the trajectory, with the source prompt as its negative."""
    return sample(["state", 0], TARGET_PROMPT, model=model, negative=["negative", 0], cfg=CFG, start_step=START)


SAMPLING = (
    Picture(
        "RetraceSchedulePlot",
        {**CHECKPOINT, "plot": node("RetraceSchedulePlot", model=MODEL, **SCHEDULE)},
        (image("", "plot"),),
    ),
    Picture(
        "RetraceDDIMScheduler",
        {
            **BLANK,
            "ddim": ddim(0.0),
            **{f"levels {steps}": sigmas(steps) for steps in (4, 8, 20)},
            **{
                f"steps {steps}": stock_sample(["ddim", 0], [f"levels {steps}", 0], ["blank", 0])
                for steps in (4, 8, 20)
            },
        },
        tuple(latent(f"{steps} steps", f"steps {steps}") for steps in (4, 8, 20)),
    ),
    Picture(
        "RetraceSamplerDDIM",
        {
            **BLANK,
            "sigmas": sigmas(),
            **{f"ddim {eta}": ddim(eta) for eta in (0.0, 0.5, 1.0)},
            **{f"eta {eta}": stock_sample([f"ddim {eta}", 0], LEVELS, ["blank", 0]) for eta in (0.0, 0.5, 1.0)},
        },
        tuple(latent(f"eta {eta:g}", f"eta {eta}") for eta in (0.0, 0.5, 1.0)),
    ),
    Picture(
        "RetraceDDIMSample",
        {
            **continued("ball"),
            "img2img": sample(["encode", 0], TARGET_PROMPT, cfg=CFG, start_step=START, add_noise=True),
        },
        (image("photo", "photo"), latent("img2img", "img2img"), latent("edit of its inversion", "edit")),
    ),
)

INVERSION = (
    Picture(
        "RetraceDDIMInvert",
        rebuilt(HARD),
        (image("photo", "photo"), latent("its noise", "invert", 1), latent("sampled again", "rebuild")),
    ),
    Picture(
        "RetraceTrajectoryLatent",
        {**inverted(HARD), **{f"state {step}": state(step) for step in (0, 10, 16)}},
        tuple(latent(f"start_step {step} of {STEPS}", f"state {step}") for step in (0, 10, 16)),
    ),
    Picture(
        "RetraceTrajectoryNoise",
        {
            **inverted("ball"),
            **{
                f"noise {step}": node("RetraceTrajectoryNoise", trajectory=PATH, start_step=step) for step in (0, 6, 12)
            },
            "euler": node("KSamplerSelect", sampler_name="euler"),
            "rebuilding": guider(SOURCE_PROMPT, 1.0),
            "editing": guider(TARGET_PROMPT, CFG),
            **{f"state {step}": sampled_on(f"noise {step}", words) for step, words in NOISE_ENDS.items()},
        },
        (
            latent("rebuilt, start_step 0", "state 0"),
            *(latent(f"edit, start_step {step}", f"state {step}") for step in (6, 12)),
        ),
    ),
    Picture(
        "RetraceTrajectoryPreview",
        {**inverted(HARD), "grid": node("RetraceTrajectoryPreview", trajectory=PATH, vae=VAE, pictures=10, columns=5)},
        (image("", "grid"),),
    ),
    Picture(
        "RetraceSaveTrajectory",
        {
            **STORED,
            **{f"state {step}": state(step, ["save", 0]) for step in (0, 12, 19)},
        },
        tuple(
            latent(f"{words} in the file", f"state {step}")
            for words, step in (("noise", 0), ("halfway", 12), ("picture", 19))
        ),
    ),
    Picture(
        "RetraceLoadTrajectory",
        {
            **continued("ball"),
            "invert": node("RetraceLoadTrajectory", name=f"{SAVED}_00001_.safetensors [output]"),
            "noise": state(0),
            "rebuild": sample(["noise", 0], SOURCE_PROMPT),
        },
        (image("photo", "photo"), latent("rebuilt from the file", "rebuild"), latent("edited from the file", "edit")),
        first=STORED,
    ),
    Picture(
        "RetraceExactInvert",
        {
            **rebuilt(HARD),
            "exact": invert("RetraceExactInvert", method="edict", cfg=CFG, mixing=0.93, gamma=1.0),
            "exactly": edit(SOURCE_PROMPT, trajectory=["exact", 0], hold_source=False),
        },
        (image("photo", "photo"), latent("DDIM Invert, cfg 5", "guided"), latent("Exact Invert, cfg 5", "exactly")),
    ),
    Picture(
        "RetraceEditFriendlyInvert",
        {
            **encoded("ball"),
            "invert": invert("RetraceEditFriendlyInvert", seed=0, cfg=3.5, solver="ddpm", eta=1.0),
            "rebuild": edit(SOURCE_PROMPT, cfg=3.5, hold_source=False),
            "edit": edit(start_step=START, hold_source=False),
        },
        (image("photo", "photo"), latent("rebuilt, cfg 3.5", "rebuild"), latent("edited, cfg 5", "edit")),
    ),
)

RECONSTRUCTION = (
    Picture(
        "RetraceNullTextOptimize",
        {**OPTIMIZED, "null": advanced_sample(SOURCE_PROMPT, ["optimize", 1], ["noise", 0], 0)},
        (
            image("loss", "optimize", 2),
            image("photo", "photo"),
            latent("cfg 5 without", "guided"),
            latent("cfg 5 with it", "null"),
        ),
    ),
    Picture(
        "RetraceNullTextConditioning",
        {
            **OPTIMIZED,
            "target": text(PHOTOS[HARD].before.replace("purple", "red")),
            "embeddings": node("RetraceNullTextConditioning", trajectory=["optimize", 0]),
            "state": state(START),
            "null": advanced_sample(SOURCE_PROMPT, ["embeddings", 0], ["noise", 0], 0),
            "edit": advanced_sample(TARGET_PROMPT, ["embeddings", 0], ["state", 0], START),
        },
        (image("photo", "photo"), latent("rebuilt by KSampler", "null"), latent("edited by KSampler", "edit")),
    ),
    Picture(
        "RetraceNegativePrompt",
        {
            **rebuilt(HARD),
            "negative": node("RetraceNegativePrompt", source=SOURCE_PROMPT, empty=EMPTY_PROMPT, interpolation=0.0),
            "faithful": sample(["noise", 0], SOURCE_PROMPT, negative=["negative", 0], cfg=CFG),
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
            **inverted("ball"),
            "negative": node("RetraceNegativePrompt", source=SOURCE_PROMPT, empty=EMPTY_PROMPT, interpolation=0.0),
            "proximal": node("RetraceProximalGuidance", model=MODEL, shrinkage="soft", quantile=0.7),
            "state": state(START),
            "plain": from_source(MODEL),
            "edit": from_source(["proximal", 0]),
        },
        (image("photo", "photo"), latent("edit without", "plain"), latent("edit with it", "edit")),
    ),
)
