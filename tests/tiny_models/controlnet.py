"""The ControlNet of tiny_sd15: Canny edges -> picture (Zhang et al. 2023, arXiv 2302.05543)."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from diffusers import ControlNetModel
from torch import Tensor, nn

from .dataset import Pictures
from .diffusion import TextToLatent, alphas_cumprod, drawn_noise, loss_weight
from .latents import Latents
from .training import Loss
from .vocabulary import Vocabulary

BATCH = 8
EMPTY_CAPTION_FRACTION = 0.5
CANNY_THRESHOLDS = (60, 140)


def build(base: TextToLatent) -> ControlNetModel:
    """A copy of the UNet's encoder, with a hint encoder before it and zero convolutions after it."""
    torch.manual_seed(0)
    return ControlNetModel.from_unet(base.unet).to(memory_format=torch.channels_last)  # pyright: ignore


def edge_hint(picture: np.ndarray) -> np.ndarray:
    """Canny edges of a uint8 [H, W, 3] picture, white on black, uint8 [H, W]."""
    return cv2.Canny(np.ascontiguousarray(picture), *CANNY_THRESHOLDS)


def loss_on(base: TextToLatent, pictures: Pictures, latents: Latents, vocabulary: Vocabulary) -> Loss:
    """Epsilon loss with the UNet and text encoder frozen. Half of the captions are dropped, so the edges must define the shape."""
    alphas = alphas_cumprod()
    rows = vocabulary.rows([*latents.captions, ""], pad_with_end=True)

    def loss_of(model: nn.Module, iteration: int, generator: torch.Generator) -> Tensor:
        index = torch.randint(len(pictures), (BATCH,), generator=generator)
        dropped = torch.rand(BATCH, 1, generator=generator) < EMPTY_CAPTION_FRACTION
        context = base.text_encoder(torch.where(dropped, rows[-1:], rows[index])).last_hidden_state
        hints = torch.from_numpy(np.stack([edge_hint(pictures[at]) for at in index.tolist()]))
        x0 = latents.values[index]
        timesteps, alpha, noise = drawn_noise(x0, alphas, generator)
        a, b = alpha.sqrt()[:, None, None, None], (1 - alpha).sqrt()[:, None, None, None]
        noisy = a * x0 + b * noise
        hint = (hints[:, None].float() / 255).expand(-1, 3, -1, -1)
        down, middle = model(noisy, timesteps, context, hint, return_dict=False)
        predicted = base.unet(
            noisy, timesteps, context, down_block_additional_residuals=down, mid_block_additional_residual=middle
        ).sample
        return (loss_weight(alpha, False) * (predicted - noise).square().mean(dim=(1, 2, 3))).mean()

    return loss_of
