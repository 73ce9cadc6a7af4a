"""Train tiny_sd from scratch: one command, seeded, both checkpoints.

    python tests/tiny_sd/train.py [--work FOLDER] [--output FOLDER]

Stages that are already in the work folder are not repeated, so that an interrupted run goes on where it was.
`COMFYUI_PATH` names the ComfyUI tree whose tokenizer and layout tables are used.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
os.environ.setdefault("COMFYUI_PATH", str(ROOT / ".dev" / "ComfyUI-0.30.0"))
sys.path.insert(0, os.environ["COMFYUI_PATH"])

from comfy.cli_args import args as comfy_arguments  # noqa: E402

comfy_arguments.cpu = not torch.cuda.is_available()

import autoencoder  # noqa: E402
import checkpoint  # noqa: E402
import diffusion  # noqa: E402
from captions import Vocabulary, vocabulary  # noqa: E402
from diffusers import AutoencoderTiny  # noqa: E402

SCENES = 6400
AUTOENCODER_ITERATIONS = 3300
DECODER_ITERATIONS = 900
EPSILON_ITERATIONS = 4600
VELOCITY_ITERATIONS = 3300
SEED = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=ROOT / ".dev" / "tiny_sd", help="where the stages are kept")
    parser.add_argument("--output", type=Path, default=HERE, help="where the checkpoints are written")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    dtype = faster_dtype()
    words = vocabulary()
    vae = trained_autoencoder(options.work, dtype)
    print(f"autoencoder: {autoencoder.roundtrip_psnr(vae, 100, seed=1):.2f} dB on held-out scenes")
    dataset = encoded_scenes(options.work, vae)
    epsilon = trained_epsilon(options.work, dataset, words, dtype)
    vae = refined_decoder(options.work, vae, dtype)
    print(f"with its decoder refined: {autoencoder.roundtrip_psnr(vae, 100, seed=1):.2f} dB")
    checkpoint.save(options.output / "tiny_sd15.safetensors", epsilon, vae, dataset, words)
    velocity = trained_velocity(options.work, dataset, words, dtype, epsilon)
    checkpoint.save(options.output / "tiny_sd2_v.safetensors", velocity, vae, dataset, words)


def faster_dtype() -> torch.dtype:
    """bfloat16 where the processor multiplies it faster than float32 (about four times, with AMX), else float32."""
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        convolution = torch.nn.Conv2d(64, 64, 3, padding=1).to(dtype, memory_format=torch.channels_last)  # pyright: ignore
        x = torch.randn(8, 64, 64, 64, dtype=dtype).contiguous(memory_format=torch.channels_last)
        convolution(x)
        start = time.perf_counter()
        for _ in range(3):
            convolution(x)
        seconds[dtype] = time.perf_counter() - start
    return min(seconds, key=lambda dtype: seconds[dtype])


def trained_autoencoder(work: Path, dtype: torch.dtype) -> AutoencoderTiny:
    path = work / "autoencoder.pt"
    if not path.exists():
        model = autoencoder.train(AUTOENCODER_ITERATIONS, SEED, dtype)
        keep(model.state_dict(), path)
    model = autoencoder.build().eval()
    model.load_state_dict(torch.load(path, weights_only=True))
    return model


def refined_decoder(work: Path, vae: AutoencoderTiny, dtype: torch.dtype) -> AutoencoderTiny:
    path = work / "decoder.pt"
    if not path.exists():
        keep(autoencoder.refine_decoder(vae, DECODER_ITERATIONS, SEED + 1, dtype).state_dict(), path)
    vae.load_state_dict(torch.load(path, weights_only=True))
    return vae.eval()


def encoded_scenes(work: Path, vae: AutoencoderTiny) -> diffusion.Dataset:
    path = work / "latents.pt"
    if not path.exists():
        dataset = diffusion.encode_scenes(vae, SCENES, SEED)
        keep(vars(dataset), path)
    return diffusion.Dataset(**torch.load(path, weights_only=True))


def trained_epsilon(
    work: Path, dataset: diffusion.Dataset, words: Vocabulary, dtype: torch.dtype
) -> diffusion.TextToLatent:
    path = work / "epsilon.pt"
    torch.manual_seed(SEED)
    model = diffusion.TextToLatent(len(words.token_ids), linear_projection=False)
    if not path.exists():
        average = diffusion.train(model, dataset, words, "epsilon", EPSILON_ITERATIONS, 1e-3, SEED, dtype, work)
        keep(average.state_dict(), path)
    model.load_state_dict(torch.load(path, weights_only=True))
    return model.eval()


def trained_velocity(
    work: Path, dataset: diffusion.Dataset, words: Vocabulary, dtype: torch.dtype, epsilon: diffusion.TextToLatent
) -> diffusion.TextToLatent:
    """Started from the epsilon network, whose features serve v as well: only what is read off them changes."""
    path = work / "velocity.pt"
    model = diffusion.TextToLatent(len(words.token_ids), linear_projection=True)
    if not path.exists():
        shapes = model.state_dict()
        model.load_state_dict({key: value.reshape(shapes[key].shape) for key, value in epsilon.state_dict().items()})
        average = diffusion.train(model, dataset, words, "v_prediction", VELOCITY_ITERATIONS, 6e-4, SEED, dtype, work)
        keep(average.state_dict(), path)
    model.load_state_dict(torch.load(path, weights_only=True))
    return model.eval()


def keep(state: object, path: Path) -> None:
    """Write a stage whole or not at all."""
    torch.save(state, path.with_suffix(".part"))
    path.with_suffix(".part").replace(path)


if __name__ == "__main__":
    main()
