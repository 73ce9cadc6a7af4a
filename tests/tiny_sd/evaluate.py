"""How well tiny_sd draws what it is asked for: color, shape and background of held-out captions, judged by pixels.

    python dev.py bench quality [--captions 200] [--checkpoint tiny_sd15.safetensors]

DDIM (ComfyUI's euler on ddim_uniform, which is the same), 50 steps, cfg 5, through the stock checkpoint loader.
`COMFYUI_PATH` names the ComfyUI tree.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

HERE = Path(__file__).resolve().parent
for folder in (str(HERE), os.environ.setdefault("COMFYUI_PATH", str(HERE.parent.parent / ".dev" / "ComfyUI-0.30.0"))):
    sys.path.insert(0, folder)

from comfy.cli_args import args as comfy_arguments  # noqa: E402

comfy_arguments.cpu = not torch.cuda.is_available()
comfy_arguments.use_pytorch_cross_attention = True

import comfy.sample  # noqa: E402
import comfy.samplers  # noqa: E402
import comfy.sd  # noqa: E402
import layouts  # noqa: E402
import scenes  # noqa: E402
from judge import judge  # noqa: E402
from tqdm import trange  # noqa: E402

CHECKPOINTS = ("tiny_sd15.safetensors", "tiny_sd2_v.safetensors")
STEPS, CFG, BATCH, SEED = 50, 5.0, 20, 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captions", type=int, default=200)
    parser.add_argument("--two-object-captions", type=int, default=60)
    parser.add_argument("--checkpoint", choices=CHECKPOINTS, action="append")
    parser.add_argument("--sheet", type=Path, help="write a contact sheet of the first pictures here")
    options = parser.parse_args()
    layouts.register()
    print("| checkpoint | captions | color | shape | background |\n|---|---|---|---|---|")
    for name in options.checkpoint or CHECKPOINTS:
        loaded = comfy.sd.load_checkpoint_guess_config(str(HERE / name))
        for label, count, second in (
            ("one object", options.captions, False),
            ("two objects", options.two_object_captions, True),
        ):
            if not count:
                continue
            pictures, wanted = draw(loaded, count, second)
            rates = [f"{100 * rate:.1f} %" for rate in success_rates(pictures, wanted)]
            print(f"| {name} | {count}, {label} | {' | '.join(rates)} |", flush=True)
            if options.sheet:
                write_sheet(
                    pictures,
                    options.sheet.with_stem(f"{options.sheet.stem}-{Path(name).stem}-{label.replace(' ', '-')}"),
                )


def draw(loaded: tuple[Any, ...], count: int, second_object: bool) -> tuple[list[np.ndarray], list[scenes.Scene]]:
    """Pictures (uint8 [128, 128, 3]) of `count` held-out captions, and the scenes that the captions describe."""
    model, clip, vae, _ = loaded
    rng = np.random.default_rng(SEED)
    wanted = [scenes.random_scene(rng, held_out=True, second_object=second_object) for _ in range(count)]
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "ddim_uniform", STEPS)
    pictures: list[np.ndarray] = []
    with torch.inference_mode():
        negative = clip.encode_from_tokens_scheduled(clip.tokenize(""))
        for start in trange(0, count, BATCH, desc="drawing", leave=False):
            batch = wanted[start : start + BATCH]
            encoded = [clip.encode_from_tokens_scheduled(clip.tokenize(scene.caption))[0] for scene in batch]
            positive = [[torch.cat([entry[0] for entry in encoded]), {}]]
            empty = torch.zeros(len(batch), 4, 16, 16)
            noise = comfy.sample.prepare_noise(empty, SEED + start)
            euler = comfy.samplers.sampler_object("euler")
            latents = comfy.sample.sample_custom(
                model, noise, CFG, euler, sigmas, positive, negative, empty, disable_pbar=True
            )
            images = vae.decode(latents).cpu().numpy()
            pictures.extend((image * 255).round().clip(0, 255).astype(np.uint8) for image in images)
    return pictures, wanted


def success_rates(pictures: list[np.ndarray], wanted: list[scenes.Scene]) -> list[float]:
    """The share of pictures with the right color, shape and background."""
    hits = []
    for picture, scene in zip(pictures, wanted, strict=True):
        verdict, first = judge(picture), scene.objects[0]
        hits.append(
            (verdict.color == first.color, verdict.shape == first.shape, verdict.background == scene.background)
        )
    return np.mean(hits, axis=0).tolist()


def write_sheet(pictures: list[np.ndarray], path: Path, columns: int = 10) -> None:
    from PIL import Image

    rows = [np.concatenate(pictures[at : at + columns], axis=1) for at in range(0, min(len(pictures), 50), columns)]
    Image.fromarray(np.concatenate([row for row in rows if row.shape == rows[0].shape])).save(path)


if __name__ == "__main__":
    main()
