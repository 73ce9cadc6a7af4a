"""The training set as latents: encoded once, in chunks, so that an interrupted run can resume."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from .autoencoder import to_tensor
from .dataset import CHUNK, Pictures
from .training import keep

ENCODED_AT_ONCE = 4
MEASURED_CHUNKS = 10
SOLIDS_WEIGHT = 5.0
"""Of a place that shows a solid, against 1 elsewhere: grass and grain had most of the loss, and patterns were learned last."""


@dataclass(frozen=True)
class Latents:
    """`values` float32 [N, C, 32, 32] = (encoded - mean) / deviation, with one caption each; 16 x 16 for half-size pictures.

    `emphasis` float16 [N, 1, 32, 32], 1 on average, is the weight of each place in a loss.
    """

    values: Tensor
    captions: list[str]
    mean: float
    deviation: float
    emphasis: Tensor

    def __add__(self, other: Latents) -> Latents:
        """Both sets, in the scale of the first."""
        values = torch.cat([self.values, other.values])
        emphasis = torch.cat([self.emphasis, other.emphasis])
        return Latents(values, self.captions + other.captions, self.mean, self.deviation, emphasis)

    def halved(self) -> Latents:
        """Those of pictures of half the size, in a scale of their own."""
        values = functional.avg_pool2d(self.values, 2)
        spread = values.std().item()
        values = (values / spread).contiguous(memory_format=torch.channels_last)
        emphasis = functional.avg_pool2d(self.emphasis.float(), 2).half()
        return Latents(values, self.captions, self.mean, self.deviation * spread, emphasis)


@torch.no_grad()
def encode(model: nn.Module, pictures: Pictures, folder: Path, report: Callable[[str], None]) -> None:
    """Encode the chunks of `pictures` that are missing in `folder`, each float16 [100, C, 32, 32]."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, chunk in enumerate(pictures.chunks):
        path = folder / f"{number:05}.pt"
        if path.exists():
            continue
        encoded = [
            model.encoder(to_tensor(chunk[at : at + ENCODED_AT_ONCE]))  # pyright: ignore
            for at in range(0, CHUNK, ENCODED_AT_ONCE)
        ]
        keep(torch.cat(encoded).half().contiguous(), path)
        report(f"{folder.name}: {number + 1} of {len(pictures.chunks)} chunks encoded")


def load(folder: Path, captions: list[str], solids: Pictures, scale: tuple[float, float] | None = None) -> Latents:
    """All latents that belong to `captions`, with their solids.

    `scale` (mean, deviation) defaults to that of the first chunks.
    """
    chunks = [torch.load(folder / f"{number:05}.pt", weights_only=True) for number in range(len(captions) // CHUNK)]
    if scale is None:
        measured = torch.cat(chunks[:MEASURED_CHUNKS]).float()
        scale = measured.mean().item(), measured.std().item()
    mean, deviation = scale
    values = ((torch.cat(chunks).float() - mean) / deviation).contiguous(memory_format=torch.channels_last)
    return Latents(values, captions, mean, deviation, emphasis_on(solids, len(captions)))


def emphasis_on(solids: Pictures, count: int) -> Tensor:
    """The weights [count, 1, 32, 32] of the first `count` pictures from where their solids are, 1 on average."""
    there = torch.from_numpy(np.concatenate(solids.chunks)[:count, None] > 0)
    weights = torch.where(there, SOLIDS_WEIGHT, 1.0)
    return (weights / weights.mean()).half()
