"""The pack's algorithms with diffusers' UNet as the denoiser, without ComfyUI.

    python scripts/invert_with_diffusers.py MODEL photo.png rebuilt.png --prompt "what the photo shows"

MODEL is a Stable Diffusion 1.x or 2.x in diffusers' folder format. `inversion/` and `samplers/` need only a
function denoise(x, sigma) -> x0; `denoiser` makes one from a UNet, and everything else comes from this pack.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from PIL import Image
from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent


def import_pack(name: str = "retrace_pack") -> None:
    """Import the pack by its path, as ComfyUI does: its folder must not be on sys.path, because `nodes` is ComfyUI's there."""
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(name, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)])
    assert spec is not None and spec.loader is not None
    sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])


import_pack()
invert_ddim = import_module("retrace_pack.inversion.ddim").invert_ddim
sample_ddim = import_module("retrace_pack.samplers.ddim").sample_ddim
PATH = import_module("retrace_pack.samplers.path").VarianceExploding()
prediction = import_module("retrace_pack.samplers.prediction")
noise_levels = import_module("retrace_pack.samplers.noise_levels")
make_schedule = import_module("retrace_pack.samplers.schedule").make_schedule


def denoiser(unet: UNet2DConditionModel, context: Tensor, sigma_table: Tensor, predicts: str) -> Callable:
    """denoise(x, sigma) -> x0 of a UNet under one prompt: x is scaled to unit variance, the level becomes a timestep."""

    dtype = unet.dtype  # diffusers looks through all weights each time

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        timestep = int((sigma_table - sigma).abs().argmin())
        scaled = PATH.to_unit(x, sigma).to(dtype)
        output = unet(scaled, timestep, encoder_hidden_states=context.expand(len(x), -1, -1)).sample
        return prediction.denoised_from_output(output.float(), x, sigma, predicts)

    return denoise


@torch.no_grad()
def rebuild(
    unet: UNet2DConditionModel, scheduler: DDIMScheduler, context: Tensor, latent: Tensor, steps: int, iterations: int
) -> Tensor:
    """Invert a latent to noise and sample it back; more iterations are more exact."""
    sigma_table = noise_levels.sigmas_from_alphas_cumprod(scheduler.alphas_cumprod).to(latent)
    denoise = denoiser(unet, context, sigma_table, scheduler.config["prediction_type"])
    schedule = make_schedule(sigma_table, steps)
    inversion = invert_ddim(denoise, latent, schedule.ascending_sigmas, path=PATH, fixed_point_iterations=iterations)
    return sample_ddim(denoise, inversion.states[-1], schedule.sigmas)


@torch.no_grad()
def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a folder in diffusers' format")
    parser.add_argument("photo", type=Path)
    parser.add_argument("result", type=Path)
    parser.add_argument("--prompt", default="")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--iterations", type=int, default=2)
    options = parser.parse_args()
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import (
        StableDiffusionPipeline,  # slow to import and needed only here
    )

    pipe = StableDiffusionPipeline.from_pretrained(options.model, safety_checker=None, local_files_only=True)
    photo = Image.open(options.photo).convert("RGB").resize((options.size, options.size), Image.Resampling.LANCZOS)
    pixels = torch.from_numpy(np.asarray(photo, np.float32) / 127.5 - 1).permute(2, 0, 1)[None]
    context, _ = pipe.encode_prompt(options.prompt, pipe.device, 1, do_classifier_free_guidance=False)
    latent = pipe.vae.encode(pixels).latent_dist.mean * pipe.vae.config.scaling_factor
    scheduler: Any = DDIMScheduler.from_config(pipe.scheduler.config)
    rebuilt = rebuild(pipe.unet, scheduler, context, latent, options.steps, options.iterations)
    decoded = pipe.vae.decode(rebuilt / pipe.vae.config.scaling_factor).sample[0].clamp(-1, 1)
    Image.fromarray(((decoded.permute(1, 2, 0) + 1) * 127.5).round().byte().numpy()).save(options.result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
