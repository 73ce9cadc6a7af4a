"""What an autoencoder makes of pictures: the judge learns from round trips, and is measured on them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderTiny

BATCH = 20


def round_trip_through(file: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Pictures uint8 [B, H, W, 3] through an AutoencoderTiny of four channels, given as a state dict."""
    model = AutoencoderTiny(latent_channels=4, scaling_factor=1.0)
    model.load_state_dict(torch.load(file, weights_only=True))

    @torch.no_grad()
    def altered(pictures: np.ndarray) -> np.ndarray:
        parts = []
        for part in torch.from_numpy(pictures).split(BATCH):
            restored = model.decoder(model.encoder(part.permute(0, 3, 1, 2).float() / 127.5 - 1)).clamp(-1, 1)
            parts.append(((restored + 1) * 127.5).round().byte().permute(0, 2, 3, 1))
        return torch.cat(parts).numpy()

    return altered
