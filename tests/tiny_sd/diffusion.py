"""Train the UNet and the text encoder of tiny_sd together, on cached latents of procedural scenes."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scenes
import torch
from autoencoder import to_tensor
from captions import MAX_TOKENS, Vocabulary
from diffusers import AutoencoderTiny, DDIMScheduler, UNet2DConditionModel
from torch import nn
from tqdm import trange
from transformers import CLIPTextConfig, CLIPTextModel

CONTEXT = 128
BATCH = 16
ENCODE_BATCH = 4
EMPTY_CAPTION_FRACTION = 0.12
SECOND_OBJECT_FRACTION = 0.2
SNR_KNEE = 5.0
HARD_PHRASES, HARD_WEIGHT = ("small {} star on", "small {} cross on"), 3.0
EMA_DECAY = 0.999
SNAPSHOT_EVERY = 500


@dataclass(frozen=True)
class Dataset:
    """`latents` float32 [N, 4, 16, 16] = (encoded - latent_mean) / latent_std, with their captions."""

    latents: torch.Tensor
    captions: list[str]
    latent_mean: float
    latent_std: float


class TextToLatent(nn.Module):
    """The text encoder and the UNet as one module, so that one optimizer and one average serve both."""

    def __init__(self, vocabulary_size: int, linear_projection: bool) -> None:
        super().__init__()
        self.text_encoder = CLIPTextModel(text_config(vocabulary_size))
        self.unet = UNet2DConditionModel(**unet_config(linear_projection)).to(memory_format=torch.channels_last)  # pyright: ignore

    def forward(self, x: torch.Tensor, timesteps: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        context = self.text_encoder(rows).last_hidden_state
        return self.unet(x, timesteps, context).sample


def text_config(vocabulary_size: int) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=vocabulary_size,
        hidden_size=CONTEXT,
        intermediate_size=4 * CONTEXT,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=MAX_TOKENS,
        hidden_act="quick_gelu",
        bos_token_id=vocabulary_size - 2,
        eos_token_id=vocabulary_size - 1,
    )


def unet_config(linear_projection: bool) -> dict[str, object]:
    """The SD1.5 layout at a fifth of its width and half its depth (SD2 differs in linear projections only)."""
    return {
        "sample_size": scenes.IMAGE_SIZE // 8,
        "block_out_channels": (64, 128),
        "layers_per_block": 1,
        "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        "cross_attention_dim": CONTEXT,
        "attention_head_dim": 8,
        "use_linear_projection": linear_projection,
    }


@torch.no_grad()
def encode_scenes(autoencoder: AutoencoderTiny, count: int, seed: int) -> Dataset:
    """Render and encode `count` scenes whose words are not held out."""
    rng = np.random.default_rng(seed)
    latents, captions = [], []
    for _ in trange(0, count, ENCODE_BATCH, desc="latents", mininterval=5):
        batch = [
            scenes.random_scene(rng, False, bool(rng.random() < SECOND_OBJECT_FRACTION)) for _ in range(ENCODE_BATCH)
        ]
        captions.extend(scene.caption for scene in batch)
        latents.append(autoencoder.encoder(to_tensor(np.stack([scenes.render(scene) for scene in batch]))))
    stacked = torch.cat(latents).contiguous()
    mean, std = stacked.mean().item(), stacked.std().item()
    return Dataset((stacked - mean) / std, captions, mean, std)


def train(
    model: TextToLatent,
    dataset: Dataset,
    vocabulary: Vocabulary,
    prediction: str,
    iterations: int,
    learning_rate: float,
    seed: int,
    dtype: torch.dtype,
    snapshots: Path,
) -> TextToLatent:
    """Fit `prediction` ("epsilon" or "v_prediction"); returns the exponential moving average of the weights.

    Timesteps are stratified over the batch. The loss is weighted by the square root of min-SNR-5 (Hang et al. 2023,
    arXiv 2303.09556): high noise levels, where layout is decided, learn faster, low ones are not forgotten. The error of v
    is that of eps times 1 + 1 / SNR, most of which nobody can predict where there is little signal; half of it (in the
    exponent) is taken back. Small shapes with points and arms, which are learned last, are drawn more often. The average is
    written to the folder `snapshots` now and then, to look at while training goes on.
    """
    torch.manual_seed(seed)
    scheduler = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    alphas = scheduler.alphas_cumprod
    rows = vocabulary.rows(dataset.captions, pad_with_end=prediction == "epsilon")
    empty = vocabulary.rows([""], pad_with_end=prediction == "epsilon")
    average = deepcopy(model).requires_grad_(False).eval()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=learning_rate, betas=(0.9, 0.99), weight_decay=0.01, fused=True
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, learning_rate, total_steps=iterations, pct_start=0.05, cycle_momentum=False
    )
    frequency = drawing_frequency(dataset.captions)
    progress = trange(iterations, desc=prediction, mininterval=5)
    smooth = 1.0
    for step in progress:
        index = torch.multinomial(frequency, BATCH)
        clean = dataset.latents[index].contiguous(memory_format=torch.channels_last)
        dropped = torch.rand(BATCH, 1) < EMPTY_CAPTION_FRACTION
        caption_rows = torch.where(dropped, empty, rows[index])
        timesteps = ((torch.arange(BATCH) + torch.rand(BATCH)) * (1000 / BATCH)).long()
        noise = torch.randn_like(clean)
        noisy = scheduler.add_noise(clean, noise, timesteps)
        snr = alphas[timesteps] / (1 - alphas[timesteps])
        weight = (snr.clamp(max=SNR_KNEE) / snr).sqrt()
        target = noise
        if prediction == "v_prediction":
            target = scheduler.get_velocity(clean, noise, timesteps)
            weight = weight * (snr / (1 + snr)).sqrt()
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            predicted = model(noisy, timesteps, caption_rows)
        loss = (weight * (predicted.float() - target).square().mean(dim=(1, 2, 3))).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        decay = min(EMA_DECAY, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(average.parameters()), [p.detach() for p in model.parameters()], 1 - decay)
        if step % SNAPSHOT_EVERY == SNAPSHOT_EVERY - 1:
            torch.save(average.state_dict(), snapshots / f"{prediction}.snapshot.pt")
        smooth += (loss.item() - smooth) / min(step + 1, 200)
        progress.set_postfix(loss=f"{smooth:.4f}", refresh=False)
    return average


def drawing_frequency(captions: list[str]) -> torch.Tensor:
    """How often each scene is drawn relative to the others, float32 [N]."""
    hard = {phrase.format(color) for phrase in HARD_PHRASES for color in scenes.PALETTE}
    return torch.tensor([HARD_WEIGHT if any(phrase in caption for phrase in hard) else 1.0 for caption in captions])
