"""How well the miniatures draw what the prompt asks for: each attribute of held-out captions, judged from pixels.

    python tests/tiny_models/evaluate.py --parts FOLDER [--captions 200] [--checkpoint tiny_sd15] [--sheet FOLDER]

Euler on ddim_uniform, cfg 5, through the stock checkpoint loader, from the parts that train.py writes to its folder `files`.
`COMFYUI_PATH` is the ComfyUI tree to use.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from itertools import permutations
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
os.environ.setdefault("COMFYUI_PATH", str(HERE.parent.parent / ".dev" / "ComfyUI-0.30.0"))
sys.path[:0] = [str(HERE.parent), os.environ["COMFYUI_PATH"]]

import numpy as np  # noqa: E402
import torch  # noqa: E402
from comfy.cli_args import args as comfy_arguments  # noqa: E402

comfy_arguments.cpu = not torch.cuda.is_available()
comfy_arguments.use_pytorch_cross_attention = True

import comfy.sample  # noqa: E402
import comfy.samplers  # noqa: E402
import comfy.sd  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

from tiny_models import drawing, stored  # noqa: E402
from tiny_models.loader import layouts  # noqa: E402
from tiny_models.world.captions import caption  # noqa: E402
from tiny_models.world.judge import FoundSolid, Verdict, judge_all  # noqa: E402
from tiny_models.world.scene import Scene, Solid, random_scene  # noqa: E402

CFG, BATCH, SEED = 5.0, 10, 1
SOLID_ATTRIBUTES = ("color", "material", "shape", "size")
ATTRIBUTES = (*SOLID_ATTRIBUTES, "floor", "wall")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", type=Path, required=True)
    parser.add_argument("--captions", type=int, default=200)
    parser.add_argument("--two-object-captions", type=int, default=60)
    parser.add_argument("--checkpoint", choices=("tiny_sd15", "tiny_sd2_v"), action="append")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--sheet", type=Path, help="folder for contact sheets of the first pictures")
    options = parser.parse_args()
    layouts.register()
    print(f"| checkpoint | captions | {' | '.join(ATTRIBUTES)} |\n|---|---|{'---|' * len(ATTRIBUTES)}")
    for name in options.checkpoint or ("tiny_sd15", "tiny_sd2_v"):
        loaded = load(options.parts, name)
        for objects, count in ((1, options.captions), (2, options.two_object_captions)):
            wanted = held_out_scenes(count, objects)
            pictures = draw(loaded, [caption(scene) for scene in wanted], options.steps)
            hits = [right(verdict, scene) for verdict, scene in zip(judge_all(pictures), wanted, strict=True)]
            rates = [f"{100 * rate:.1f} %" for rate in np.mean(hits, axis=0)]
            print(f"| {name} | {count} of {objects} object(s) | {' | '.join(rates)} |", flush=True)
            if options.sheet:
                drawing.write_sheet(pictures[:40], options.sheet / f"{name}-{objects}.png", columns=8)


def load(parts: Path, name: str) -> tuple[Any, ...]:
    """MODEL, CLIP and VAE of the checkpoint assembled from these parts, through the stock loader."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.safetensors"
        save_file(stored.join(parts, name), path)
        return comfy.sd.load_checkpoint_guess_config(str(path))[:3]


def held_out_scenes(count: int, objects: int) -> list[Scene]:
    return [random_scene(np.random.default_rng((SEED, index)), objects, held_out=True) for index in range(count)]


@torch.inference_mode()
def draw(loaded: tuple[Any, ...], captions: list[str], steps: int) -> np.ndarray:
    """One picture per caption, uint8 [N, 256, 256, 3]."""
    model, clip, vae = loaded
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "ddim_uniform", steps)
    negative = clip.encode_from_tokens_scheduled(clip.tokenize(""))
    pictures = []
    for start in range(0, len(captions), BATCH):
        encoded = [clip.encode_from_tokens_scheduled(clip.tokenize(text))[0][0] for text in captions[start:][:BATCH]]
        empty = torch.zeros(len(encoded), 4, 32, 32)
        noise = comfy.sample.prepare_noise(empty, SEED + start)
        euler = comfy.samplers.sampler_object("euler")
        positive = [[torch.cat(encoded), {}]]
        latents = comfy.sample.sample_custom(
            model, noise, CFG, euler, sigmas, positive, negative, empty, disable_pbar=True
        )
        pictures.append((vae.decode(latents).cpu().numpy() * 255).round().clip(0, 255).astype(np.uint8))
    return np.concatenate(pictures)


def right(verdict: Verdict, scene: Scene) -> list[bool]:
    """For each attribute, whether the picture has it; all of several solids must be right, in the best-matching order."""
    ground = [verdict.floor == scene.floor, verdict.wall == scene.wall]
    if len(verdict.solids) < len(scene.solids):
        return [False] * len(SOLID_ATTRIBUTES) + ground
    orders = permutations(sorted(verdict.solids, key=lambda solid: -solid.certainty)[: len(scene.solids)])
    best = max((_solids_right(order, scene.solids) for order in orders), key=sum)
    return best + ground


def _solids_right(found: tuple[FoundSolid, ...], wanted: tuple[Solid, ...]) -> list[bool]:
    pairs = list(zip(found, wanted, strict=True))
    return [all(getattr(a, name) == getattr(b, name) for a, b in pairs) for name in SOLID_ATTRIBUTES]


if __name__ == "__main__":
    main()
