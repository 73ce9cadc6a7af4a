"""Samples drawn during training, for a person to look at: DDIM or Euler with classifier-free guidance, and contact sheets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from .autoencoder import to_pictures
from .diffusion import TextToLatent, alphas_cumprod, predicts_v
from .flux import FlowTransformer, encoded_text
from .latents import Latents
from .vocabulary import Vocabulary

STEPS, CFG = 20, 4.0


@torch.no_grad()
def draw(
    name: str, model: TextToLatent, decoder: nn.Module, latents: Latents, vocabulary: Vocabulary, captions: list[str]
) -> np.ndarray:
    """One picture per caption, uint8 [B, H, W, 3] at the training pictures' size, from seeded noise."""
    padded = not predicts_v(name)
    rows = torch.cat([vocabulary.rows([""] * len(captions), padded), vocabulary.rows(captions, padded)])
    context = model.text_encoder(rows).last_hidden_state
    alphas = alphas_cumprod()
    timesteps = torch.arange(STEPS - 1, -1, -1) * (1000 // STEPS) + 1
    x = torch.randn(len(captions), *latents.values.shape[1:], generator=torch.Generator().manual_seed(0))
    for t, following in zip(timesteps, [*alphas[timesteps[1:]], torch.ones(())], strict=True):
        empty, worded = model.unet(torch.cat([x, x]), t, context).sample.chunk(2)
        x = ddim_step(x, empty + CFG * (worded - empty), alphas[t], following, predicts_v(name))
    return to_pictures(decoder(x * latents.deviation + latents.mean))


@torch.no_grad()
def draw_flow(
    model: FlowTransformer,
    text: TextToLatent,
    decoder: nn.Module,
    latents: Latents,
    vocabulary: Vocabulary,
    captions: list[str],
) -> np.ndarray:
    """The same from a flow, by Euler's steps from s = 1 to 0."""
    rows = vocabulary.rows([""] * len(captions) + captions, pad_with_end=True)
    words = encoded_text(text, rows)
    levels = torch.linspace(1, 0, STEPS + 1)
    x = torch.randn(len(captions), *latents.values.shape[1:], generator=torch.Generator().manual_seed(0))
    for s, following in zip(levels, levels[1:], strict=False):
        empty, worded = model(torch.cat([x, x]), s.expand(len(rows)), words).chunk(2)
        x = x + (following - s) * (empty + CFG * (worded - empty))
    return to_pictures(decoder(x * latents.deviation + latents.mean))


def ddim_step(x: Tensor, output: Tensor, alpha: Tensor, following: Tensor, velocity: bool) -> Tensor:
    """One step from alpha bar to `following` (Song et al. 2021, arXiv 2010.02502, equation 12 at eta 0)."""
    a, b = alpha.sqrt(), (1 - alpha).sqrt()
    x0 = a * x - b * output if velocity else (x - b * output) / a
    eps = (x - a * x0) / b
    return following.sqrt() * x0 + (1 - following).sqrt() * eps


def write_sheet(pictures: Sequence[np.ndarray] | np.ndarray, path: Path, columns: int = 4) -> None:
    """Write pictures as a PNG with `columns` per row; an incomplete last row is dropped."""
    rows = [np.concatenate(list(pictures[at : at + columns]), axis=1) for at in range(0, len(pictures), columns)]
    whole = [row for row in rows if row.shape == rows[0].shape]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(whole)).save(path)
