"""Train the autoencoder of tiny_sd: the TAESD layout (f8, 4 channels) on crops of procedural scenes."""

from __future__ import annotations

import numpy as np
import scenes
import torch
from diffusers import AutoencoderTiny
from torch import nn
from torch.nn import functional
from tqdm import trange

CROP = 48
CROPS = 5
WHOLE_PICTURES = 0.2
LATENT_NOISE = 0.03
RESIDUAL_GAIN = 0.1


def build() -> AutoencoderTiny:
    """He-initialized, so that the untrained latents already stand out of the noise that training adds to them."""
    model = AutoencoderTiny(scaling_factor=1.0)
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if name.endswith("conv.4"):
                module.weight.data.mul_(RESIDUAL_GAIN)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return model.to(memory_format=torch.channels_last)  # pyright: ignore


def train(iterations: int, seed: int, dtype: torch.dtype) -> AutoencoderTiny:
    """Fit reconstruction (L1 + 5 MSE) with a little noise on the latents, so that the decoder forgives a sampler."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = build()
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-4, betas=(0.9, 0.98), weight_decay=1e-4, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 4e-4, total_steps=iterations, pct_start=0.05, cycle_momentum=False
    )
    progress = trange(iterations, desc="autoencoder", mininterval=5)
    for _ in progress:
        target = batch(rng)
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            latents = model.encoder(target)
            restored = model.decoder(latents + LATENT_NOISE * torch.randn_like(latents))
        restored = restored.float()
        mse = functional.mse_loss(restored, target)
        loss = functional.l1_loss(restored, target) + 5 * mse
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        schedule.step()
        progress.set_postfix(psnr=f"{-10 * np.log10(mse.item() / 4):.2f}", refresh=False)
    return model.eval()


def refine_decoder(model: AutoencoderTiny, iterations: int, seed: int, dtype: torch.dtype) -> AutoencoderTiny:
    """Train the decoder alone a little longer: small shapes get sharper, the latents stay what the UNet learned."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model.requires_grad_(False)
    model.decoder.requires_grad_(True)
    optimizer = torch.optim.AdamW(model.decoder.parameters(), lr=3e-4, betas=(0.9, 0.98), fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 3e-4, total_steps=iterations, pct_start=0.1, cycle_momentum=False
    )
    for _ in trange(iterations, desc="decoder", mininterval=5):
        target = batch(rng)
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            latents = model.encoder(target)
            restored = model.decoder(latents + LATENT_NOISE * torch.randn_like(latents)).float()
        loss = functional.l1_loss(restored, target) + 5 * functional.mse_loss(restored, target)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.decoder.parameters(), 5.0)
        optimizer.step()
        schedule.step()
    return model.eval()


def batch(rng: np.random.Generator) -> torch.Tensor:
    """Five crops that see an object's edge more often than chance would, or (a fifth of the time) one whole
    picture, so that the borders and the distances of a real input are met as well; [B, 3, H, W] in -1..1."""
    if rng.random() < WHOLE_PICTURES:
        return to_tensor(scenes.render(_any_scene(rng))[None])
    crops = []
    for _ in range(CROPS):
        scene = _any_scene(rng)
        item = scene.objects[rng.integers(len(scene.objects))]
        corner = np.array([item.y, item.x]) + rng.uniform(-1, 1, 2) * item.radius - CROP * rng.uniform(0.25, 0.75, 2)
        top, left = np.clip(corner, 0, scenes.IMAGE_SIZE - CROP).astype(int)
        crops.append(scenes.render(scene)[top : top + CROP, left : left + CROP])
    return to_tensor(np.stack(crops))


def _any_scene(rng: np.random.Generator) -> scenes.Scene:
    return scenes.random_scene(rng, held_out=False, second_object=bool(rng.random() < 0.5))


def to_tensor(pictures: np.ndarray) -> torch.Tensor:
    """uint8 [B, H, W, 3] -> float32 [B, 3, H, W] in -1..1, channels last in memory."""
    tensor = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1
    return tensor.contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def roundtrip_psnr(model: AutoencoderTiny, count: int, seed: int) -> float:
    """Mean PSNR (dB, 8-bit) of held-out scenes through encoder and decoder in float32."""
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(count):
        picture = scenes.render(scenes.random_scene(rng, held_out=True, second_object=bool(rng.random() < 0.3)))
        tensor = to_tensor(picture[None])
        restored = ((model.decoder(model.encoder(tensor)).clamp(-1, 1) + 1) * 127.5).round()
        error = functional.mse_loss(restored, (tensor + 1) * 127.5).item()
        values.append(10 * np.log10(255**2 / error))
    return float(np.mean(values))
