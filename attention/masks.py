"""Masks from attention maps, or from the difference of two predictions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..samplers.blend_mask import feather_mask, grow_mask
from ..samplers.otsu import otsu_threshold


def resize_maps(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps [B, h, w] resized bilinearly, float32 [B, *size]."""
    return F.interpolate(maps[:, None].float(), size, mode="bilinear")[:, 0]


def mean_map(maps: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    """The mean [B, *size] of maps [B, h, w] of various sizes, normalized to 0..1 per image."""
    mean = torch.stack([resize_maps(each, size) for each in maps]).mean(0)
    low, high = mean.amin((1, 2), keepdim=True), mean.amax((1, 2), keepdim=True)
    return (mean - low) / (high - low).clamp_min(torch.finfo(mean.dtype).tiny)


def difference_map(first: Tensor, second: Tensor, clamp: float = 3.0) -> Tensor:
    """Where two predictions [N, B, C, H, W] differ, [B, H, W] in 0..1 (DiffEdit, Couairon et al. 2022, arXiv 2210.11427).

    The absolute difference, averaged over N levels or noises and over channels, is clamped to `clamp` times its mean over the
    image and divided by that limit, as in diffusers (section 3.1 of the paper: "removing extreme values").
    """
    difference = (first - second).abs().mean((0, 2))
    limit = clamp * difference.mean((1, 2), keepdim=True)
    return torch.minimum(difference, limit) / limit.clamp_min(torch.finfo(difference.dtype).tiny)


def map_to_mask(maps: Tensor, threshold: float | None, grow: int, feather: int) -> Tensor:
    """Masks [B, H, W] in 0..1 from maps [B, H, W] in 0..1.

    Args:
        maps: one per image.
        threshold: pixels above it are in the mask; None chooses it per image, with Otsu's method.
        grow: number of pixels by which to grow the mask; negative values shrink it.
        feather: number of pixels, roughly, over which the edge fades to either side.
    """
    thresholds = [otsu_threshold(each) if threshold is None else threshold for each in maps]
    mask = (maps > torch.tensor(thresholds).to(maps).view(-1, 1, 1)).float()
    return feather_mask(grow_mask(mask, grow), feather)
