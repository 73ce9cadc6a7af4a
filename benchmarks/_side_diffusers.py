"""The tasks with diffusers. Each function prepares what a pipeline keeps between its calls, and returns the call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from _side_models import Pair, Task, box
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion_inpaint import StableDiffusionInpaintPipeline
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddim_inverse import DDIMInverseScheduler
from torch import Tensor

Run = Callable[[], Tensor]
SCHEDULE: dict[str, Any] = {
    "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "clip_sample": False,
    "set_alpha_to_one": True, "steps_offset": 1,
}  # fmt: skip


def inversion(pair: Pair, task: Task) -> Run:
    """All states [N + 1, B, 4, H, W]."""
    scheduler: Any = DDIMInverseScheduler(**SCHEDULE)

    def run() -> Tensor:
        scheduler.set_timesteps(task.steps, task.clean.device)
        x, context = task.clean, pair.positive.expand(task.rows, -1, -1)
        states = [x]
        for t in scheduler.timesteps:
            x = scheduler.step(pair.theirs(x, t, context).sample, t, x).prev_sample
            states.append(x)
        return torch.stack(states)

    return run


def sampling(pair: Pair, task: Task) -> Run:
    """The plain loop; `pipeline` is the same in a pipeline."""
    scheduler: Any = DDIMScheduler(**SCHEDULE)
    context = torch.cat([each.expand(task.rows, -1, -1) for each in (pair.negative, pair.positive)])

    def run() -> Tensor:
        scheduler.set_timesteps(task.steps, task.clean.device)
        x = task.noise
        for t in scheduler.timesteps:
            empty, full = pair.theirs(torch.cat([x, x]), t, context).sample.chunk(2)
            x = scheduler.step(empty + task.cfg * (full - empty), t, x).prev_sample
        return x

    return run


def pipeline(pair: Pair, task: Task) -> Run:
    pipe = made(StableDiffusionPipeline, pair)
    prompts = {"prompt_embeds": pair.positive, "negative_prompt_embeds": pair.negative}
    return lambda: pipe(
        **prompts, latents=task.noise, num_images_per_prompt=task.rows, num_inference_steps=task.steps,
        guidance_scale=task.cfg, output_type="latent",
    ).images  # fmt: skip


def inpainting(pair: Pair, task: Task) -> Run:
    """StableDiffusionInpaintPipeline with a network of 4 channels, from latents: it encodes and decodes nothing."""
    blocks: Any = {
        "down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4,
        "block_out_channels": (4,) * 4, "norm_num_groups": 1,
    }  # fmt: skip
    pipe = made(StableDiffusionInpaintPipeline, pair, AutoencoderKL(**blocks))
    prompts = {"prompt_embeds": pair.positive, "negative_prompt_embeds": pair.negative}
    height, width = (8 * side for side in task.clean.shape[2:])
    mask = box(task)[:, None].to(task.clean)
    return lambda: pipe(
        **prompts, image=task.clean, mask_image=mask, masked_image_latents=task.clean, height=height, width=width,
        latents=task.noise, strength=1.0, num_images_per_prompt=task.rows, num_inference_steps=task.steps,
        guidance_scale=task.cfg, output_type="latent",
    ).images  # fmt: skip


def made(kind: Any, pair: Pair, vae: Any = None) -> Any:  # noqa: ANN401  (diffusers' classes of pipelines)
    """A pipeline around the network, without a progress bar."""
    pipe = kind(
        vae=vae, text_encoder=None, tokenizer=None, unet=pair.theirs, scheduler=DDIMScheduler(**SCHEDULE),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    return pipe
