"""How visible the edge of an inpainted region is."""

from __future__ import annotations

import torch
from torch import Tensor


def seam_jump(image: Tensor, mask: Tensor) -> Tensor:
    """The jump along a mask's edge beyond what the picture does on either side of it, [B].

    For each pair of neighbors that the edge of `mask` [B, H, W] (inside is 0.5 or more) parts, in x and y: the absolute
    difference across the edge less the mean of the two differences next to it; averaged over pairs and channels of `image`
    [B, H, W, C], 0 to 1. 0 if the edge is no stronger than the rest, or if there is no edge.
    """
    inside = mask >= 0.5
    totals, counts = [], []
    for picture, region in ((image, inside), (image.transpose(1, 2), inside.transpose(1, 2))):
        steps = (picture[:, :, 1:] - picture[:, :, :-1]).abs().mean(-1)
        jump = steps[:, :, 1:-1] - (steps[:, :, :-2] + steps[:, :, 2:]) / 2
        edge = (region[:, :, 1:] != region[:, :, :-1])[:, :, 1:-1]
        totals.append((jump * edge).sum((1, 2)))
        counts.append(edge.sum((1, 2)))
    return torch.stack(totals).sum(0) / torch.stack(counts).sum(0).clamp(min=1)
