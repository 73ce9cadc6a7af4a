"""A LoRA for tiny_sd15: rank 4 on the UNet's attention, which learns one new word, "a blueprint of ..."."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from . import latents
from .dataset import CHUNK, Pictures
from .diffusion import TextToLatent
from .vocabulary import LORA_WORD

RANK = 4
TARGETS = ("to_q", "to_k", "to_v", "to_out.0")
STYLED_CHUNKS = 4
PAPER, INK = (22, 58, 122), (232, 240, 250)


class LowRank(nn.Module):
    """A frozen linear layer plus up(down(x)), which starts at zero (Hu et al. 2021, arXiv 2106.09685)."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base = base
        self.down = nn.Linear(base.in_features, RANK, bias=False)
        self.up = nn.Linear(RANK, base.out_features, bias=False)
        nn.init.normal_(self.down.weight, std=1 / RANK)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.up(self.down(x))


def build(base: TextToLatent) -> TextToLatent:
    """A copy of the model, frozen except for the low-rank matrices on its attention layers."""
    torch.manual_seed(0)
    model = deepcopy(base).requires_grad_(False)
    for name, module in list(model.unet.named_modules()):
        if isinstance(module, nn.Linear) and name.endswith(TARGETS) and ".attn" in name:
            parent, _, last = name.rpartition(".")
            setattr(model.unet.get_submodule(parent), last, LowRank(module))
    return model


def blueprint(picture: np.ndarray) -> np.ndarray:
    """White contours on blue paper, uint8 [H, W, 3]."""
    gray = cv2.GaussianBlur(cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY), (0, 0), 1.2)
    slope = np.hypot(cv2.Sobel(gray, cv2.CV_32F, 1, 0), cv2.Sobel(gray, cv2.CV_32F, 0, 1))
    ink = np.clip((slope - 12) / 60, 0, 1)[..., None]
    shade = 0.75 + 0.5 * gray[..., None] / 255
    drawn = np.array(PAPER, np.float32) * shade * (1 - ink) + np.array(INK, np.float32) * ink
    return drawn.clip(0, 255).round().astype(np.uint8)


def styled_caption(caption: str) -> str:
    """For example "a blueprint of a large red ball on a wooden floor, beige wall"."""
    return caption.replace("a photo of", f"a {LORA_WORD} of")


def styled_set(
    pictures: Pictures,
    solids: Pictures,
    autoencoder: nn.Module,
    folder: Path,
    scale: tuple[float, float],
    report: Callable[[str], None],
) -> latents.Latents:
    """The first pictures of the training set as blueprints, encoded in the scale of the others."""
    chunks = [np.stack([blueprint(picture) for picture in chunk]) for chunk in pictures.chunks[:STYLED_CHUNKS]]
    captions = [styled_caption(caption) for caption in pictures.captions[: STYLED_CHUNKS * CHUNK]]
    latents.encode(autoencoder, Pictures(chunks, captions), folder, report)
    return latents.load(folder, captions, solids, scale)
