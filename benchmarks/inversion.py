"""How exactly DDIM inversion reconstructs an image, by fixed-point iterations and guidance.

    python dev.py bench inversion [--scenes 16]

Held-out still lifes on both miniatures, 50 steps. PSNR (dB) of the decoded reconstruction, against the VAE's own round
trip and against the image itself.
"""

from __future__ import annotations

import argparse
import time

import torch
from _host import encode_texts, environment, prepare
from _miniatures import CHECKPOINTS, load
from _still_lifes import held_out

STEPS = 50
# (cfg of the reconstruction, fixed-point iterations of the inversion, which runs at cfg 1)
CASES = ((1.0, 0), (1.0, 1), (1.0, 2), (1.0, 4), (3.0, 0), (3.0, 4), (7.5, 0), (7.5, 4))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=16)
    options = parser.parse_args()
    prepare()
    print(f"{environment()}; {options.scenes} held-out still lifes, {STEPS} steps\n")
    print(
        "| checkpoint | cfg | iterations | PSNR to VAE round trip | PSNR to image | UNet evaluations | seconds an image |"
    )
    print("|---|---|---|---|---|---|---|")
    for name in CHECKPOINTS:
        for line in measure(name, options.scenes):
            print(line, flush=True)


def measure(name: str, count: int) -> list[str]:
    """The rows of the table for one checkpoint."""
    from node_call import run_node
    from retrace_pack.measuring.compare import compare_images  # pyright: ignore[reportMissingImports]
    from retrace_pack.nodes.ddim_sample import RetraceDDIMSample  # pyright: ignore[reportMissingImports]
    from retrace_pack.nodes.inversion import RetraceDDIMInvert  # pyright: ignore[reportMissingImports]

    lines = []
    with torch.inference_mode():
        miniature = load(name)
        model, clip, vae = miniature.model, miniature.clip, miniature.vae
        captions, pictures = held_out(count, seed=3)
        positive = encode_texts(clip, captions)
        negative = encode_texts(clip, [""] * count)
        samples = vae.encode(pictures)
        roundtrip = vae.decode(samples)
        inverted = {}
        for cfg, iterations in CASES:
            if iterations not in inverted:
                started = time.perf_counter()
                latent = {"samples": samples}
                trajectory = run_node(
                    RetraceDDIMInvert,
                    model=model,
                    positive=positive,
                    negative=negative,
                    latent=latent,
                    steps=STEPS,
                    fixed_point_iterations=iterations,
                ).result[0]
                inverted[iterations] = trajectory, time.perf_counter() - started
            trajectory, seconds = inverted[iterations]
            started = time.perf_counter()
            rebuilt = run_node(
                RetraceDDIMSample,
                model=model,
                positive=positive,
                negative=negative,
                latent={"samples": trajectory.latents[-1]},
                steps=STEPS,
                cfg=cfg,
            ).result[0]["samples"]
            seconds = (seconds + time.perf_counter() - started) / count
            decoded = vae.decode(rebuilt)
            to_roundtrip, to_image = (compare_images(decoded, other).mean_psnr for other in (roundtrip, pictures))
            evaluations = trajectory.inversion.unet_evaluations + STEPS * (1 if cfg == 1 else 2)
            lines.append(
                f"| {name} | {cfg:g} | {iterations} | {to_roundtrip:.2f} | {to_image:.2f} | {evaluations} | {seconds:.2f} |"
            )
    return lines


if __name__ == "__main__":
    main()
