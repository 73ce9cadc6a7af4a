"""The help pages' pictures for the nodes whose models have no trained miniature: drawn, with the example's graph in the file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from picture_parts import EMPTY_PROMPT, MODEL, SOURCE_PROMPT, VAE, Graph, edit, node, text
from PIL import Image, ImageDraw, ImageFont
from still_life import PHOTOS, camera, nearest_solid, photo

NAME = "cube and ball"
SIZE, SAMPLES, LATENT_SIZE = 256, 4, 32
STEPS, SHIFT = 20, 3.0


@dataclass(frozen=True)
class Drawn:
    """A node's picture as labeled images, and the graph that its file carries."""

    node_id: str
    images: Callable[[], Mapping[str, Image.Image]]
    graph: Graph


def depth_map() -> Image.Image:
    """The inverse distance of what the photo shows, from the scene itself; the nearest is white, the farthest black."""
    view = camera.view(SIZE, SAMPLES)
    away = np.empty(view.directions.shape[1], np.float32)
    eye = np.array(camera.EYE, np.float32)[:, None]
    away[view.on_floor] = np.linalg.norm(view.floor - eye, axis=0)
    away[view.on_wall] = np.linalg.norm(view.wall - eye, axis=0)
    nearness = 1 / np.minimum(away, nearest_solid(PHOTOS[NAME].source, view)[1])
    return stretched(nearness.reshape(SAMPLES, SIZE, SIZE).mean(0))


def stretched(values: np.ndarray) -> Image.Image:
    """Gray levels from the least to the greatest value [H, W]."""
    levels = (values - values.min()) / (values.max() - values.min())
    return Image.fromarray(np.rint(255 * levels).astype(np.uint8)).convert("RGB")


def estimated_depth() -> Mapping[str, Image.Image]:
    """What a good model gives for the photo."""
    return {"photo": Image.fromarray(photo(NAME)), "depth": depth_map()}


def depth_in_latent_size() -> Mapping[str, Image.Image]:
    """The depth map, and the same as the fifth channel of a latent."""
    full = depth_map()
    small = full.convert("F").resize((LATENT_SIZE, LATENT_SIZE), Image.Resampling.BICUBIC)
    return {"depth map": full, "as the model gets it": stretched(np.asarray(small))}


def flow_levels() -> Mapping[str, Image.Image]:
    """The levels sigma = s t / (1 + (s - 1) t) of a flow whose shift is s, and the way along them in each direction."""
    times = np.linspace(1, 0, STEPS + 1)
    levels = SHIFT * times / (1 + (SHIFT - 1) * times)
    width, height, left, right, upper, lower = 640, 330, 56, 624, 30, 220
    canvas = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(size=15)
    points = [
        (left + (right - left) * step / STEPS, lower - (lower - upper) * level) for step, level in enumerate(levels)
    ]
    draw.rectangle((left, upper, right, lower), outline="#cccccc")
    draw.line(points, fill="#2460b4", width=2)
    for x, y in points:
        draw.ellipse((x - 4, y - 4, x + 4, y + 4), fill="#d65028")
    for name, y in (("1", upper), ("sigma", (upper + lower) / 2), ("0", lower)):
        draw.text((left - 8, y), name, fill="black", font=font, anchor="rm")
    for name, x, anchor in (
        ("noise", left, "la"),
        (f"step of {STEPS}", (left + right) / 2, "ma"),
        ("image", right, "ra"),
    ):
        draw.text((x, lower + 6), name, fill="black", font=font, anchor=anchor)
    for name, y, tip, tail in (("Flow Invert", 262, left, right), ("Edit Sample", 302, right, left)):
        inward = 12 if tip < tail else -12
        draw.line((tail, y, tip + inward / 2, y), fill="black", width=2)
        draw.polygon([(tip, y), (tip + inward, y - 6), (tip + inward, y + 6)], fill="black")
        box = draw.textbbox(((left + right) / 2, y), f" {name} ", font=font, anchor="mm")
        draw.rectangle(box, fill="white")
        draw.text(((left + right) / 2, y), f" {name} ", fill="black", font=font, anchor="mm")
    return {"": canvas}


ESTIMATED: Graph = {
    "photo": node("LoadImage", image="example.png"),
    "depth": node("RetraceEstimateDepth", image=["photo", 0], model="depth-anything", stretch="each image"),
}
DEPTH_TO_IMAGE: Graph = {
    **ESTIMATED,
    "checkpoint": node("CheckpointLoaderSimple", ckpt_name="512-depth-ema.safetensors"),
    "source": text("a photo of a ball and a cube"),
    "empty": text(""),
    "blank": node("EmptyLatentImage", width=512, height=512, batch_size=1),
    "condition": node(
        "RetraceDepthToImage",
        model=MODEL,
        positive=SOURCE_PROMPT,
        negative=EMPTY_PROMPT,
        depth=["depth", 0],
        latent=["blank", 0],
    ),
    "sample": node(
        "KSampler",
        model=["condition", 0],
        positive=["condition", 1],
        negative=["condition", 2],
        latent_image=["blank", 0],
        seed=0,
        steps=30,
        cfg=7.5,
        sampler_name="euler",
        scheduler="normal",
        denoise=1.0,
    ),
    "decode": node("VAEDecode", samples=["sample", 0], vae=VAE),
    "show image": node("PreviewImage", images=["decode", 0]),
}
FLOW_INVERT: Graph = {
    "model": node("UNETLoader", unet_name="flux1-dev.safetensors", weight_dtype="default"),
    "clip": node(
        "DualCLIPLoader",
        clip_name1="clip_l.safetensors",
        clip_name2="t5xxl_fp16.safetensors",
        type="flux",
        device="default",
    ),
    "vae": node("VAELoader", vae_name="ae.safetensors"),
    "photo": node("LoadImage", image="example.png"),
    "encode": node("VAEEncode", pixels=["photo", 0], vae=["vae", 0]),
    "source": node("CLIPTextEncode", clip=["clip", 0], text="a photo of a cat on a sofa"),
    "target": node("CLIPTextEncode", clip=["clip", 0], text="a photo of a dog on a sofa"),
    "empty": node("CLIPTextEncode", clip=["clip", 0], text=""),
    "guidance": node("FluxGuidance", conditioning=["target", 0], guidance=3.5),
    "invert": node(
        "RetraceFlowInvert",
        model=["model", 0],
        positive=["source", 0],
        negative=["empty", 0],
        latent=["encode", 0],
        solver="euler",
        steps=28,
        cfg=1.0,
        guidance=1.0,
        fixed_point_iterations=0,
        acceleration="none",
        seed=0,
    ),
    "edit": edit(["guidance", 0], model=["model", 0], cfg=1.0, start_step=4),
    "decode": node("VAEDecode", samples=["edit", 0], vae=["vae", 0]),
    "show edit": node("PreviewImage", images=["decode", 0]),
}
DRAWN = (
    Drawn("RetraceFlowInvert", flow_levels, FLOW_INVERT),
    Drawn(
        "RetraceEstimateDepth", estimated_depth, {**ESTIMATED, "show depth": node("PreviewImage", images=["depth", 0])}
    ),
    Drawn("RetraceDepthToImage", depth_in_latent_size, DEPTH_TO_IMAGE),
)
