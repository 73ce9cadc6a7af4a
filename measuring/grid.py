"""Arrange several images in a grid."""

from __future__ import annotations

import torch
from torch import Tensor

GAP = 4
PAPER = 1.0


def image_grid(pictures: list[Tensor], columns: int) -> Tensor:
    """Lay out image batches [B, H, W, C] row by row with white gaps: one grid per image of the batch, [B, h, w, C]."""
    batch, height, width, channels = pictures[0].shape
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    shape = (batch, rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, channels)
    grid = torch.full(shape, PAPER, dtype=pictures[0].dtype)
    for index, picture in enumerate(pictures):
        top, left = index // columns * (height + GAP), index % columns * (width + GAP)
        grid[:, top : top + height, left : left + width] = picture.to(grid)
    return grid
