"""Inpainting of still lifes: how visible the seam is and how often the object is right, compared with stock nodes.

    python dev.py bench inpainting [--set report] [--scenes 100] [--steps 50] [--margin 24]

A solid is replaced by one of another color and shape, inside a box around it and its shadow that is aligned with the latent's
grid. The stock nodes are SetLatentNoiseMask, euler on ddim_uniform, and ImageCompositeMasked; ours are Latent Blend
Sample (matched, trajectory, and trajectory with inherit_noise: "inherited") and Pixel Composite. "unrestricted" samples the
same prompts from the same noise without any picture. All are measured in one run.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from _host import encode_texts, environment, prepare
from _miniatures import CHECKPOINTS, Miniature, load
from _still_lifes import SETS, Case, cases, shown
from torch import Tensor

if TYPE_CHECKING:
    from tiny_models.world.edits import Edit

CFG, SEED, BATCH, FEATHER = 7.5, 1, 10, 4
LATENT_PIXEL = 8
METHODS = ("core", "matched", "trajectory", "inherited", "unrestricted")


@dataclass(frozen=True)
class Task:
    """An edit, and the box to repaint, MASK [1, 256, 256]."""

    case: Case
    mask: Tensor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", choices=SETS, default="report", dest="chosen")
    parser.add_argument("--scenes", type=int, default=100)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument(
        "--margin",
        type=int,
        default=24,
        help="pixels from the solid and its shadow to the box (24 are three latent pixels)",
    )
    parser.add_argument("--checkpoint", choices=CHECKPOINTS, default=CHECKPOINTS[0])
    options = parser.parse_args()
    prepare()
    miniature = load(options.checkpoint)
    tasks = make_tasks(options.chosen, options.scenes, options.margin)
    jumps: dict[str, list[float]] = {method: [] for method in METHODS}
    right: dict[str, list[tuple[bool, bool]]] = {method: [] for method in METHODS}
    changed: dict[str, float] = dict.fromkeys(METHODS, 0.0)
    print(f"{options.steps} steps, cfg {CFG}, boxes {options.margin} pixels around solid and shadow; {environment()}")
    with torch.inference_mode():
        for start in range(0, len(tasks), BATCH):
            batch = tasks[start : start + BATCH]
            for method, images in inpaint(miniature, batch, options.steps, SEED + start).items():
                measure(method, images, batch, jumps, right, changed)
            print(f"\n{start + len(batch)} of {len(tasks)} photos\n\n{table(jumps, right, changed)}", flush=True)


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


def make_tasks(chosen: str, count: int, margin: int) -> list[Task]:
    """The color edits of a set, with another shape as well."""
    tasks = []
    for case in cases("color", chosen, count, with_other_shape):
        inside = case.truth.objects | case.truth.shadows
        mask = torch.zeros(1, *inside.shape)
        spans = []
        for axis in (1, 0):
            places = np.flatnonzero(inside.any(axis))
            first, last = int(places[0]) - margin, int(places[-1]) + margin
            spans.append(
                slice(max(0, first // LATENT_PIXEL * LATENT_PIXEL), -(-(last + 1) // LATENT_PIXEL) * LATENT_PIXEL)
            )
        mask[:, spans[0], spans[1]] = 1
        tasks.append(Task(case, mask))
    return tasks


def with_other_shape(edit: Edit) -> Edit:
    """The solid of the target in the next shape of the vocabulary, turned so that it can be told."""
    from tiny_models.world.scene import SHAPES, TURNS

    number = edit.solid or 0
    solid = edit.target.solids[number]
    shape = SHAPES[(SHAPES.index(solid.shape) + 1) % len(SHAPES)]
    low, high = TURNS.get(shape, (solid.turn, solid.turn))
    turn = solid.turn if low <= solid.turn <= high else (low + high) / 2
    return replace(edit, target=edit.target.with_solid(number, shape=shape, turn=turn))


def inpaint(miniature: Miniature, batch: list[Task], steps: int, seed: int) -> dict[str, Tensor]:
    """Method -> IMAGE of the batch."""
    import comfy.sample
    import comfy.samplers
    from comfy_extras.nodes_mask import ImageCompositeMasked
    from node_call import run_node
    from retrace_pack.nodes.inpainting import RetraceLatentBlendSample  # pyright: ignore
    from retrace_pack.nodes.inversion import RetraceDDIMInvert  # pyright: ignore
    from retrace_pack.nodes.pixel_composite import RetracePixelComposite  # pyright: ignore

    model, clip, vae = miniature.model, miniature.clip, miniature.vae
    pictures, masks = torch.cat([task.case.photo for task in batch]), torch.cat([task.mask for task in batch])
    positive = encode_texts(clip, [task.case.edit.after for task in batch])
    source = encode_texts(clip, [task.case.edit.before for task in batch])
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
    from retrace_pack.measuring.seam import seam_jump  # pyright: ignore

    masks, pictures = torch.cat([task.mask for task in batch]), torch.cat([task.case.photo for task in batch])
    jumps[method].extend(seam_jump(images, masks).tolist())
    changed[method] = max(changed[method], float(((images - pictures).abs() * (masks == 0)[..., None]).max()))
    for image, task in zip(images.split(1), batch, strict=True):
        found, solid = shown(task.case, image), task.case.edit.solid
        right[method].append((found[f"{solid} color"], found[f"{solid} shape"]))


if __name__ == "__main__":
    main()
