"""Inpainting on held-out scenes: how visible the seam is and how often the object is right, compared with stock nodes.

    python dev.py bench inpainting [--scenes 100] [--steps 50] [--margin 24]

Each scene's object is replaced, inside a box around it that is aligned with the latent's grid, by an object of another color
and shape. The stock nodes are SetLatentNoiseMask, euler on ddim_uniform, and ImageCompositeMasked; ours are Latent Blend
Sample (matched, trajectory, and trajectory with inherit_noise: "inherited") and Pixel Composite. "unrestricted" samples the
same prompts from the same noise without any picture. All are measured in one run.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from _host import encode_texts, environment, held_out_scenes, load_tiny, prepare
from torch import Tensor

CFG, SEED, BATCH, FEATHER = 7.5, 1, 10, 4
LATENT_PIXEL = 8
METHODS = ("core", "matched", "trajectory", "inherited", "unrestricted")


@dataclass(frozen=True)
class Task:
    """A picture [1, 128, 128, 3], the box to repaint [1, 128, 128], and the object that should appear there."""

    picture: Tensor
    mask: Tensor
    source: Any
    target: Any


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=100)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument(
        "--margin",
        type=int,
        default=24,
        help="width of the box around the object in pixels (24 are three latent pixels)",
    )
    parser.add_argument("--checkpoint", default="tiny_sd15")
    options = parser.parse_args()
    prepare()
    tiny = load_tiny(options.checkpoint)
    tasks = make_tasks(options.scenes, options.margin)
    jumps: dict[str, list[float]] = {method: [] for method in METHODS}
    right: dict[str, list[tuple[bool, bool]]] = {method: [] for method in METHODS}
    changed: dict[str, float] = dict.fromkeys(METHODS, 0.0)
    print(f"{options.steps} steps, cfg {CFG}, boxes {options.margin} pixels around the objects; {environment()}")
    with torch.inference_mode():
        for start in range(0, len(tasks), BATCH):
            batch = tasks[start : start + BATCH]
            for method, images in inpaint(tiny, batch, options.steps, SEED + start).items():
                measure(method, images, batch, jumps, right, changed)
            print(f"\n{start + len(batch)} of {len(tasks)} scenes\n\n{table(jumps, right, changed)}", flush=True)


def table(jumps: dict[str, list[float]], right: dict[str, list[tuple[bool, bool]]], changed: dict[str, float]) -> str:
    """The results so far, as Markdown."""
    rows = ["| | seam | color right | shape right | both right | largest change outside |", "|" + " --- |" * 6]
    for method in METHODS:
        color, shape = (100 * rate for rate in np.mean(right[method], axis=0))
        both = 100 * np.mean([all(hit) for hit in right[method]])
        blended = method != "unrestricted"
        seam, outside = (f"{np.mean(jumps[method]):.4f}", f"{changed[method]:.3f}") if blended else ("", "")
        rows.append(f"| {method} | {seam} | {color:.0f} % | {shape:.0f} % | {both:.0f} % | {outside} |")
    return "\n".join(rows)


def make_tasks(count: int, margin: int) -> list[Task]:
    import scenes

    chosen, pictures = held_out_scenes(count, SEED)
    rng = np.random.default_rng(SEED)
    tasks = []
    for scene, picture in zip(chosen, pictures, strict=True):
        item = scene.objects[0]
        colors = [name for name in scenes.PALETTE if name not in (item.color, scene.background)]
        shapes = [name for name in scenes.SHAPES if name != item.shape]
        target = scene.with_object(color=str(rng.choice(colors)), shape=str(rng.choice(shapes)))
        reach = item.radius + margin
        (left, right), (top, bottom) = (
            (
                max(0, int((middle - reach) // LATENT_PIXEL) * LATENT_PIXEL),
                min(scenes.IMAGE_SIZE, int(-(-(middle + reach) // LATENT_PIXEL)) * LATENT_PIXEL),
            )
            for middle in (item.x, item.y)
        )
        mask = torch.zeros(1, scenes.IMAGE_SIZE, scenes.IMAGE_SIZE)
        mask[:, top:bottom, left:right] = 1
        tasks.append(Task(picture[None], mask, scene, target))
    return tasks


def inpaint(tiny: tuple[Any, Any, Any], batch: list[Task], steps: int, seed: int) -> dict[str, Tensor]:
    """Method -> IMAGE of the batch."""
    import comfy.sample
    import comfy.samplers
    from comfy_extras.nodes_mask import ImageCompositeMasked
    from node_call import run_node
    from retrace_pack.nodes.inpainting import RetraceLatentBlendSample  # pyright: ignore
    from retrace_pack.nodes.inversion import RetraceDDIMInvert  # pyright: ignore
    from retrace_pack.nodes.pixel_composite import RetracePixelComposite  # pyright: ignore

    model, clip, vae = tiny
    pictures, masks = torch.cat([task.picture for task in batch]), torch.cat([task.mask for task in batch])
    positive = encode_texts(clip, [task.target.caption for task in batch])
    source = encode_texts(clip, [task.source.caption for task in batch])
    negative = encode_texts(clip, [""] * len(batch))
    latent = {"samples": vae.encode(pictures)}
    noise = comfy.sample.prepare_noise(latent["samples"], seed)
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "ddim_uniform", steps)
    euler = comfy.samplers.sampler_object("euler")

    def stock(samples: Tensor, mask: Tensor | None) -> Tensor:
        result = comfy.sample.sample_custom(
            model, noise, CFG, euler, sigmas, positive, negative, samples, noise_mask=mask, disable_pbar=True
        )
        return vae.decode(result)

    edited = stock(latent["samples"], masks[:, None])
    images = {"core": ImageCompositeMasked.execute(pictures, edited, 0, 0, False, masks)[0]}
    trajectory = run_node(
        RetraceDDIMInvert,
        model=model,
        positive=source,
        negative=source,
        latent=latent,
        steps=steps,
        fixed_point_iterations=1,
    ).result[0]
    for method, kept_from, inherited in (
        ("matched", "matched", False), ("trajectory", "trajectory", False), ("inherited", "trajectory", True),
    ):  # fmt: skip
        painted = run_node(
            RetraceLatentBlendSample,
            model=model,
            positive=positive,
            negative=negative,
            latent=latent,
            seed=seed,
            steps=steps,
            cfg=CFG,
            kept_from=kept_from,
            inherit_noise=inherited,
            mask=masks,
            trajectory=trajectory,
        ).result[0]
        decoded = vae.decode(painted["samples"])
        images[method] = run_node(
            RetracePixelComposite, source=pictures, edited=decoded, mask=masks, feather=FEATHER, match_colour=True
        ).result[0]
    images["unrestricted"] = stock(torch.zeros_like(latent["samples"]), None)
    return images


def measure(
    method: str,
    images: Tensor,
    batch: list[Task],
    jumps: dict[str, list[float]],
    right: dict[str, list[tuple[bool, bool]]],
    changed: dict[str, float],
) -> None:
    from judge import judge
    from retrace_pack.measuring.seam import seam_jump  # pyright: ignore

    masks, pictures = torch.cat([task.mask for task in batch]), torch.cat([task.picture for task in batch])
    jumps[method].extend(seam_jump(images, masks).tolist())
    changed[method] = max(changed[method], float(((images - pictures).abs() * (masks == 0)[..., None]).max()))
    for image, task in zip(images, batch, strict=True):
        verdict, wanted = judge((image * 255).round().clamp(0, 255).byte().cpu().numpy()), task.target.objects[0]
        right[method].append((verdict.color == wanted.color, verdict.shape == wanted.shape))


if __name__ == "__main__":
    main()
