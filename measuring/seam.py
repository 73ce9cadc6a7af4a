"""How visible the edge of an inpainted region is."""

from __future__ import annotations

import torch
from torch import Tensor


def seam_jump(image: Tensor, mask: Tensor) -> Tensor:
    """The jump across a mask's edge in excess of the image's variation on either side, [B].

    For every pair of neighboring pixels, in x and y, of which one is inside `mask` [B, H, W] (0.5 or more) and the other is
    not: the absolute difference across the edge minus the mean of the two adjacent differences; averaged over pairs and over
    the channels of `image` [B, H, W, C] in 0..1. 0 if the edge is no stronger than its surroundings, or if there is no edge.
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
