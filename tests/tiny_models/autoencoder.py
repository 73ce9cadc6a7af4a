"""The autoencoders, in TAESD's layout (f8): 4 channels for Stable Diffusion, 16 for Flux."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from diffusers import AutoencoderTiny
from torch import Tensor, nn
from torch.nn import functional

from .dataset import Pictures

CROPS = 4
CROP_SIDE = 96
LATENT_NOISE = 0.03
RESIDUAL_GAIN = 0.1
SQUARE_WEIGHT, SLOPE_WEIGHT, SPREAD_WEIGHT = 15.0, 0.5, 0.2
DETAIL_WEIGHT, HALF_WEIGHT = 0.2, 0.25


def build(latent_channels: int, seed: int = 0) -> AutoencoderTiny:
    """He-initialized, so that even untrained latents exceed the noise that training adds to them."""
    torch.manual_seed(seed)
    model = AutoencoderTiny(latent_channels=latent_channels, scaling_factor=1.0)
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if name.endswith("conv.4"):
                module.weight.data.mul_(RESIDUAL_GAIN)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return model.to(memory_format=torch.channels_last)  # pyright: ignore


def begin_from(model: nn.Module, other: nn.Module) -> None:
    """Copy the weights that both have; in the layers next to the latents, the channels that the other has."""
    theirs = other.state_dict()
    with torch.no_grad():
        for name, value in model.state_dict().items():
            corner = tuple(slice(0, size) for size in theirs[name].shape)
            value[corner] = theirs[name]


def loss_on(pictures: Pictures) -> Callable[[nn.Module, int, torch.Generator], Tensor]:
    """The loss for `training.fit`, on crops of these pictures.

    Beside the crops themselves, half-size latents must show half-size crops (Kouzelis et al. 2025, arXiv 2502.09509), and latents
    vary little from place to place. Without both an encoder writes patterns that look like noise, and a diffusion model, which
    draws what is coarse first, learns them badly.
    """

    def loss_of(model: nn.Module, iteration: int, generator: torch.Generator) -> Tensor:
        target = crops(pictures, CROP_SIDE, generator)
        latents = model.encoder(target)  # pyright: ignore
        noise = LATENT_NOISE * torch.randn(latents.shape, generator=generator)
        restored = model.decoder(latents + noise)  # pyright: ignore
        half = model.decoder(functional.avg_pool2d(latents, 2))  # pyright: ignore
        pictures_loss = reconstruction_loss(restored, target)
        pictures_loss = pictures_loss + HALF_WEIGHT * reconstruction_loss(half, functional.avg_pool2d(target, 2))
        return pictures_loss + SPREAD_WEIGHT * spread_loss(latents) + DETAIL_WEIGHT * detail_share(latents)

    return loss_of


def reconstruction_loss(restored: Tensor, target: Tensor) -> Tensor:
    """L1 + 15 MSE + half the L1 of the gradients, which keeps edges straight; [B, 3, H, W] in -1..1."""
    error = restored - target
    slopes = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    return error.abs().mean() + SQUARE_WEIGHT * error.square().mean() + SLOPE_WEIGHT * slopes


def spread_loss(latents: Tensor) -> Tensor:
    """Zero if each channel of [B, C, H, W] has mean 0 and standard deviation 1: a checkpoint stores one shift and scale for all."""
    deviation, mean = torch.std_mean(latents, dim=(0, 2, 3))
    return mean.square().mean() + deviation.log().square().mean()


def detail_share(latents: Tensor) -> Tensor:
    """The share of the variance of latents [B, C, H, W] that half-size ones do not have; the mean over the channels.

    0.8 for white noise.
    """
    coarse = functional.interpolate(functional.avg_pool2d(latents, 2), scale_factor=2, mode="bilinear")
    return ((latents - coarse).square().mean(dim=(0, 2, 3)) / latents.var(dim=(0, 2, 3))).mean()


def crops(pictures: Pictures, side: int, generator: torch.Generator) -> Tensor:
    """Half of them at random places, half at the one of three places with the most contrast; [B, 3, side, side] in -1..1."""
    chosen = []
    for number in range(CROPS):
        picture = pictures[_integer(len(pictures), generator)]
        room = picture.shape[0] - side + 1
        places = [(_integer(room, generator), _integer(room, generator)) for _ in range(3 if number % 2 else 1)]
        candidates = [picture[top : top + side, left : left + side] for top, left in places]
        chosen.append(max(candidates, key=lambda crop: crop.std()))
    return to_tensor(np.stack(chosen))


def to_tensor(pictures: np.ndarray) -> Tensor:
    """uint8 [B, H, W, 3] -> float32 [B, 3, H, W] in -1..1, channels last in memory."""
    tensor = torch.tensor(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1
    return tensor.contiguous(memory_format=torch.channels_last)


def to_pictures(decoded: Tensor) -> np.ndarray:
    """[B, 3, H, W] in -1..1 -> uint8 [B, H, W, 3]."""
    return ((decoded.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()


@torch.no_grad()
def round_trips(model: nn.Module, pictures: Pictures, count: int) -> np.ndarray:
    """The first `count` pictures through the encoder and decoder, uint8 [count, H, W, 3]."""
    restored = [
        to_pictures(model.decoder(model.encoder(to_tensor(pictures[index][None]))))  # pyright: ignore
        for index in range(count)
    ]
    return np.concatenate(restored)


def psnr(restored: np.ndarray, pictures: Pictures) -> float:
    """Mean PSNR over the pictures, in dB."""
    errors = [np.square(picture.astype(np.float32) - pictures[index]).mean() for index, picture in enumerate(restored)]
    return float(np.mean([10 * np.log10(255**2 / error) for error in errors]))


def _integer(end: int, generator: torch.Generator) -> int:
    return int(torch.randint(end, (), generator=generator))
