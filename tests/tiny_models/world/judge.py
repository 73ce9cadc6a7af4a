"""Read color, material, shape, size, floor and wall from the pixels of a picture alone.

A small network, trained by `python -m world.judge_training` on renderings, looks at the picture and at its mirror image.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from .scene import COLORS, FLOORS, MATERIALS, SHAPES, SIZES, WALLS

WEIGHTS = Path(__file__).with_name("judge.safetensors")
SIDE = 256
CELLS = 16
WIDTH = 88
FOUND = 0.5
ATTRIBUTES = {"color": COLORS, "material": MATERIALS, "shape": SHAPES, "size": tuple(SIZES)}
GROUND = {"floor": FLOORS, "wall": WALLS}


@dataclass(frozen=True)
class FoundSolid:
    """What a solid looks like and where its middle is, across and down from 0 to 1; `certainty` is a probability."""

    color: str
    material: str
    shape: str
    size: str
    x: float
    y: float
    certainty: float


@dataclass(frozen=True)
class Verdict:
    """What a picture shows; the solids from left to right."""

    floor: str
    wall: str
    solids: tuple[FoundSolid, ...]

    def nearest(self, x: float, y: float, reach: float = 0.15) -> FoundSolid | None:
        """The solid next to a place, at most `reach` of the picture's side away."""
        near = [solid for solid in self.solids if np.hypot(solid.x - x, solid.y - y) <= reach]
        return min(near, key=lambda solid: np.hypot(solid.x - x, solid.y - y)) if near else None


class Wider(nn.Module):
    """Adds what a dilated look around each cell shows, channel by channel and then across channels."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation, groups=channels, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.layers(x))


class Reader(nn.Module):
    """Pictures [B, 3, 256, 256] in -1 to 1 -> logits [B, C, 16, 16]: whether a solid's middle is here, its attributes, ground."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in ((3, 12), (12, 24), (24, 48), (48, WIDTH)):
            layers += [nn.Conv2d(before, after, 3, 2, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        self.features = nn.Sequential(*layers, *(Wider(WIDTH, dilation) for dilation in (1, 2, 3, 2)))
        self.head = nn.Conv2d(WIDTH, 1 + sum(map(len, (*ATTRIBUTES.values(), *GROUND.values()))), 1)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.head(self.features(pictures))


def split(logits: Tensor) -> dict[str, Tensor]:
    """Logits [B, C, 16, 16] by name: `solid` and the attributes cell by cell, floor and wall [B, words]."""
    sizes = [1, *map(len, ATTRIBUTES.values()), *map(len, GROUND.values())]
    parts = dict(zip(("solid", *ATTRIBUTES, *GROUND), logits.split(sizes, 1), strict=True))
    return {name: part.mean((2, 3)) if name in GROUND else part for name, part in parts.items()}


def as_input(pictures: np.ndarray) -> Tensor:
    """Pictures uint8 [B, H, W, 3] as the network's input."""
    small = np.stack([cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for picture in pictures])
    return torch.from_numpy(small).permute(0, 3, 1, 2).float() / 127.5 - 1


def judge(picture: np.ndarray) -> Verdict:
    """What a uint8 [H, W, 3] picture shows."""
    return judge_all(picture[None])[0]


@torch.no_grad()
def judge_all(pictures: np.ndarray) -> list[Verdict]:
    """What each of the uint8 [B, H, W, 3] pictures shows."""
    given = as_input(pictures)
    seen = (_reader()(given) + _reader()(given.flip(3)).flip(3)) / 2
    parts = split(seen)
    peaks = parts["solid"].sigmoid()
    highest = nn.functional.max_pool2d(peaks, 5, 1, 2)
    verdicts = []
    for row in range(len(pictures)):
        ground = [words[int(parts[name][row].argmax())] for name, words in GROUND.items()]
        solids = []
        for down, across in torch.nonzero((peaks[row, 0] == highest[row, 0]) & (peaks[row, 0] > FOUND)).tolist():
            words = [words[int(parts[name][row, :, down, across].argmax())] for name, words in ATTRIBUTES.items()]
            place = ((across + 0.5) / CELLS, (down + 0.5) / CELLS)
            solids.append(FoundSolid(*words, *place, float(peaks[row, 0, down, across])))
        verdicts.append(Verdict(ground[0], ground[1], tuple(sorted(solids, key=lambda solid: solid.x))))
    return verdicts


@cache
def _reader() -> Reader:
    reader = Reader()
    reader.load_state_dict({name: value.float() for name, value in load_file(str(WEIGHTS)).items()})
    return reader.eval()
