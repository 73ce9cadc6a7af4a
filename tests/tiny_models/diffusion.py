"""The text encoder and the UNets in SD's layout, and their losses: epsilon (SD1.5) or v (SD2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from .latents import Latents
from .vocabulary import MAX_TOKENS, Vocabulary

CONTEXT = 128
LATENT_SIDE = 32
BATCH = {32: 16, 16: 32}
"""By the side of the latents."""
EMPTY_CAPTION_FRACTION = 0.12
SNR_KNEE = 5.0
CHANNELS = {"tiny_sd15": (64, 128, 128), "tiny_sd2_v": (64, 64, 128)}
"""Of the resolutions 32, 16 and 8; attention at 16 and 8.

Multiples of the first, as ComfyUI's loaders expect. Its norms have 32 groups: with one channel a group, none could keep its mean.
"""
HEADS = 4


class TextToLatent(nn.Module):
    """The text encoder and the UNet as one module, so that one optimizer and one weight average serve both."""

    def __init__(self, name: str, vocabulary_size: int, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.text_encoder = CLIPTextModel(text_config(vocabulary_size))
        self.unet = UNet2DConditionModel(**unet_config(name)).to(memory_format=torch.channels_last)  # pyright: ignore

    def forward(self, x: Tensor, timesteps: Tensor, rows: Tensor) -> Tensor:
        """x [B, 4, 32, 32], timesteps [B], rows [B, 77] -> the prediction, [B, 4, 32, 32]."""
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


def unet_config(name: str) -> dict[str, Any]:
    """SD1.5's layout with three resolutions and one residual block each; SD2's has linear projections."""
    return {
        "sample_size": LATENT_SIDE,
        "block_out_channels": CHANNELS[name],
        "layers_per_block": 1,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "cross_attention_dim": CONTEXT,
        "attention_head_dim": HEADS,
        "use_linear_projection": predicts_v(name),
    }


def predicts_v(name: str) -> bool:
    return name == "tiny_sd2_v"


def alphas_cumprod() -> Tensor:
    """SD's noise levels, float32 [1000]."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    return (1 - betas).cumprod(0).float()


def loss_on(name: str, latents: Latents, vocabulary: Vocabulary) -> Callable[[nn.Module, int, torch.Generator], Tensor]:
    """The loss for `training.fit`, on these latents and their captions.

    Timesteps are stratified over the batch. The loss is weighted by the square root of min-SNR-5 (Hang et al. 2023,
    arXiv 2303.09556): high noise levels, where the layout is decided, learn faster, and low ones are not forgotten. The error of
    v is that of eps times 1 + 1 / SNR, most of which cannot be predicted where there is little signal; half of that factor (in
    the exponent) is removed.
    """
    alphas = alphas_cumprod()
    rows = vocabulary.rows([*latents.captions, ""], pad_with_end=not predicts_v(name))

    def loss_of(model: nn.Module, iteration: int, generator: torch.Generator) -> Tensor:
        x0, words, emphasis = drawn(latents, rows, EMPTY_CAPTION_FRACTION, BATCH[latents.values.shape[-1]], generator)
        timesteps, alpha, noise = drawn_noise(x0, alphas, generator)
        a, b = alpha.sqrt()[:, None, None, None], (1 - alpha).sqrt()[:, None, None, None]
        target = a * noise - b * x0 if predicts_v(name) else noise
        predicted = model(a * x0 + b * noise, timesteps, words)
        weight = loss_weight(alpha, predicts_v(name))
        return (weight * (emphasis * (predicted - target).square()).mean(dim=(1, 2, 3))).mean()

    return loss_of


def drawn(
    latents: Latents, rows: Tensor, empty_fraction: float, batch: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Latents [B, C, 32, 32]; token rows [B, 77], some of them the empty caption's, which comes last in `rows`; the emphasis."""
    index = torch.randint(len(latents.captions), (batch,), generator=generator)
    dropped = torch.rand(batch, 1, generator=generator) < empty_fraction
    return latents.values[index], torch.where(dropped, rows[-1:], rows[index]), latents.emphasis[index].float()


def drawn_noise(x0: Tensor, alphas: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Timesteps int64 [B], one in each of B equal parts of the range; their alpha bar [B]; noise like x0."""
    share = (torch.arange(len(x0)) + torch.rand(len(x0), generator=generator)) / len(x0)
    timesteps = (share * len(alphas)).long()
    noise = torch.randn(x0.shape, generator=generator).contiguous(memory_format=torch.channels_last)
    return timesteps, alphas[timesteps], noise


def loss_weight(alpha: Tensor, velocity: bool) -> Tensor:
    """The weight of the squared error at each alpha bar, [B]."""
    snr = alpha / (1 - alpha)
    weight = (snr.clamp(max=SNR_KNEE) / snr).sqrt()
    return weight * (snr / (1 + snr)).sqrt() if velocity else weight


def begin_from(model: TextToLatent, other: TextToLatent) -> None:
    """Copy the text encoder, frozen, and from each weight of the UNet the corner that both have.

    A shortcut that only `model` needs, because its width changes there, begins as the identity.
    """
    model.text_encoder.load_state_dict(other.text_encoder.state_dict())
    model.text_encoder.requires_grad_(False)
    theirs = other.unet.state_dict()
    with torch.no_grad():
        for name, value in model.unet.state_dict().items():
            if name not in theirs:
                (nn.init.dirac_ if value.ndim == 4 else nn.init.zeros_)(value)
                continue
            source = theirs[name].reshape(theirs[name].shape[:2] if value.ndim == 2 else theirs[name].shape)
            corner = tuple(slice(0, min(sizes)) for sizes in zip(value.shape, source.shape, strict=True))
            value[corner] = source[corner]
