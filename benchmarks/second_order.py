"""How exactly second-order inversion reconstructs an image, compared with DDIM inversion.

    python dev.py bench second_order [--scenes 8] [--seed 2026] [--checkpoint tiny_sd15]

Held-out still lifes on the miniatures, 25 steps, cfg 1 in both directions. PSNR (dB) of the decoded reconstruction
against the VAE's own round trip, mean and lowest; UNet evaluations of both directions together. Each trajectory is continued
by this pack's own rule and by ComfyUI's stock sampler for it.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

import torch
from _host import encode_texts, environment, prepare
from _miniatures import CHECKPOINTS
from _miniatures import load as load_miniature
from _still_lifes import held_out
from torch import Tensor

STEPS = 25
STOCK = {"dpm++ 2m": "dpmpp_2m", "res 2m": "res_multistep", "ddim": "euler"}
# (scheduler, additional evaluations at each of the first two levels); "to the first level" omits the step to level 0.
SCHEDULES = (("ddim_uniform", 2), ("karras", 2), ("karras to the first level", 0))


@dataclass(frozen=True)
class Scenes:
    """A checkpoint with the conditioning and latents of the scenes to reconstruct."""

    model: Any
    vae: Any
    positive: list[Any]
    negative: list[Any]
    samples: Tensor
    roundtrip: Tensor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=8)
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--checkpoint", choices=CHECKPOINTS, action="append")
    options = parser.parse_args()
    prepare()
    print(f"{environment()}; {options.scenes} held-out still lifes of seed {options.seed}, {STEPS} steps, cfg 1\n")
    print("| checkpoint | method | schedule | way back | mean dB | lowest dB | UNet evaluations |")
    print("|---|---|---|---|---|---|---|")
    for name in options.checkpoint or CHECKPOINTS:
        with torch.inference_mode():
            measure(name, load(name, options.scenes, options.seed))


def load(name: str, count: int, seed: int) -> Scenes:
    miniature = load_miniature(name)
    captions, pictures = held_out(count, seed)
    samples = miniature.vae.encode(pictures)
    positive, negative = (encode_texts(miniature.clip, texts) for texts in (captions, [""] * count))
    return Scenes(miniature.model, miniature.vae, positive, negative, samples, miniature.vae.decode(samples))


def measure(name: str, scenes: Scenes) -> None:
    """Print the rows of the table for one checkpoint."""
    from retrace_pack.inversion.ddim import invert_ddim  # pyright: ignore[reportMissingImports]
    from retrace_pack.inversion.multistep import invert_multistep  # pyright: ignore[reportMissingImports]
    from retrace_pack.samplers.multistep import sample_multistep  # pyright: ignore[reportMissingImports]
    from retrace_pack.samplers.path import VarianceExploding  # pyright: ignore[reportMissingImports]

    for iterations in (0, 4):
        sigmas = levels(scenes, "ddim_uniform")

        def ddim(denoise: Any, x: Tensor, sigmas: Tensor = sigmas, iterations: int = iterations) -> Tensor:  # noqa: ANN401
            ascending = sigmas.flip(0).to(x)
            return invert_ddim(
                denoise, x, ascending, path=VarianceExploding(), fixed_point_iterations=iterations
            ).states[-1]

        noise, up = walk(scenes, scenes.samples, sigmas.flip(0), ddim)
        rebuilt, down = sample(scenes, noise, sigmas, stock=STOCK["ddim"])
        row(name, f"DDIM, {iterations} iterations", "ddim_uniform", "euler", scenes, rebuilt, up + down)
    for rule in ("dpm++ 2m", "res 2m"):
        for schedule, iterations in SCHEDULES:
            sigmas = levels(scenes, schedule)

            def invert(denoise: Any, x: Tensor, sigmas: Tensor = sigmas, rest: Any = (rule, iterations)) -> Tensor:  # noqa: ANN401
                ascending, (rule, iterations) = sigmas.flip(0).to(x), rest
                return invert_multistep(
                    denoise, x, ascending, path=VarianceExploding(), rule=rule, start_iterations=iterations
                ).states[-1]

            def own(denoise: Any, x: Tensor, sigmas: Tensor = sigmas, rule: str = rule) -> Tensor:  # noqa: ANN401
                return sample_multistep(denoise, x, sigmas.to(x), rule)

            noise, up = walk(scenes, scenes.samples, sigmas.flip(0), invert)
            for way, (rebuilt, down) in {
                "own rule": walk(scenes, noise, sigmas, own),
                f"stock {STOCK[rule]}": sample(scenes, noise, sigmas, STOCK[rule]),
            }.items():
                row(name, f"{rule}, {iterations} start iterations", schedule, way, scenes, rebuilt, up + down)


def levels(scenes: Scenes, schedule: str) -> Tensor:
    """The descending levels of a ComfyUI scheduler with `STEPS` steps."""
    from comfy.samplers import calculate_sigmas

    scheduler, _, end = schedule.partition(" ")
    table = scenes.model.get_model_object("model_sampling")
    return calculate_sigmas(table, scheduler, STEPS + 1)[:-1] if end else calculate_sigmas(table, scheduler, STEPS)


def walk(scenes: Scenes, latent: Tensor, sigmas: Tensor, loop: Any) -> tuple[Tensor, int]:  # noqa: ANN401
    """The result of `loop(denoise, x)` on a latent inside the guider, and the UNet evaluations per image."""
    from retrace_pack.host.guided import run_loop  # pyright: ignore[reportMissingImports]

    result, evaluations = run_loop(guidance(scenes), latent, sigmas, lambda run: loop(run.denoise, run.latent))
    return scenes.model.model.process_latent_out(result), evaluations


def sample(scenes: Scenes, latent: Tensor, sigmas: Tensor, stock: str) -> tuple[Tensor, int]:
    from comfy.samplers import ksampler
    from retrace_pack.host.guided import run_sampler  # pyright: ignore[reportMissingImports]

    return run_sampler(guidance(scenes), latent, torch.zeros_like(latent), ksampler(stock), sigmas)


def guidance(scenes: Scenes) -> Any:  # noqa: ANN401
    from retrace_pack.host.guided import Guidance  # pyright: ignore[reportMissingImports]

    return Guidance(scenes.model, scenes.positive, scenes.negative, 1.0)


def row(name: str, method: str, schedule: str, way: str, scenes: Scenes, rebuilt: Tensor, evaluations: int) -> None:
    from retrace_pack.measuring.compare import compare_images  # pyright: ignore[reportMissingImports]

    pictures = scenes.vae.decode(rebuilt)
    figures = [
        compare_images(*pair).mean_psnr for pair in zip(pictures.split(1), scenes.roundtrip.split(1), strict=True)
    ]
    mean, low = sum(figures) / len(figures), min(figures)
    print(f"| {name} | {method} | {schedule} | {way} | {mean:.1f} | {low:.1f} | {evaluations} |", flush=True)


if __name__ == "__main__":
    main()
