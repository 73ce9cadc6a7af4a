"""From attention maps, or from the difference of two predictions, to masks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..samplers.blend_mask import feather_mask, grow_mask

HISTOGRAM_BINS = 256


def stretched(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps [B, h, w] bilinearly at another size, float32 [B, *size]."""
    return F.interpolate(maps[:, None].float(), size, mode="bilinear")[:, 0]


def mean_map(maps: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    """The mean [B, *size] of maps [B, h, w] of any sizes, then each image to 0..1."""
    mean = torch.stack([stretched(each, size) for each in maps]).mean(0)
    low, high = mean.amin((1, 2), keepdim=True), mean.amax((1, 2), keepdim=True)
    return (mean - low) / (high - low).clamp_min(torch.finfo(mean.dtype).tiny)


def difference_map(first: Tensor, second: Tensor, clamp: float = 3.0) -> Tensor:
    """Where two predictions [N, B, C, H, W] differ, [B, H, W] in 0..1 (DiffEdit, Couairon et al. 2022, arXiv 2210.11427).

    The absolute difference, averaged over N levels or noises and over channels, is cut at `clamp` times its mean over the image
    and divided by that, as diffusers does (section 3.1 of the paper says "removing extreme values").
    """
    difference = (first - second).abs().mean((0, 2))
    limit = clamp * difference.mean((1, 2), keepdim=True)
    return torch.minimum(difference, limit) / limit.clamp_min(torch.finfo(difference.dtype).tiny)


def otsu_threshold(image: Tensor) -> float:
    """The level of a map in 0..1 that separates it best into two classes (Otsu 1979: the largest variance between them)."""
    counts = torch.histc(image.float().cpu(), HISTOGRAM_BINS, 0.0, 1.0)
    share = counts / counts.sum()
    levels = (torch.arange(HISTOGRAM_BINS) + 0.5) / HISTOGRAM_BINS
    below, mean_below = share.cumsum(0), (share * levels).cumsum(0)
    spread = below * (1 - below)
    between = torch.where(spread > 0, (mean_below[-1] * below - mean_below).square() / spread, torch.zeros(()))
    # A gap without any pixel gives a plateau; its middle is the level farthest from both classes.
    best = torch.nonzero(between >= between.max() * (1 - 1e-6)).flatten()
    return float(levels[best].mean() + 0.5 / HISTOGRAM_BINS)


def map_to_mask(maps: Tensor, threshold: float | None, grow: int, feather: int) -> Tensor:
    """Masks [B, H, W] in 0..1 of maps [B, H, W] in 0..1.

    Args:
        threshold: a pixel above it belongs to the mask; None finds one for each image by Otsu's method.
        grow: pixels by which the mask is grown, shrunk where negative.
        feather: about the pixels over which its edge fades, to either side.
    """
    levels = [otsu_threshold(each) if threshold is None else threshold for each in maps]
    mask = (maps > torch.tensor(levels).to(maps).view(-1, 1, 1)).float()
    return feather_mask(grow_mask(mask, grow), feather)
