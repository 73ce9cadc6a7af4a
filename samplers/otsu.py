"""Otsu's threshold: where a map splits into two classes."""

from __future__ import annotations

import torch
from torch import Tensor

HISTOGRAM_BINS = 256


def otsu_threshold(image: Tensor) -> float:
    """The threshold that best separates a map in 0..1 into two classes (Otsu 1979: the largest between-class variance)."""
    counts = torch.histc(image.float().cpu(), HISTOGRAM_BINS, 0.0, 1.0)
    share = counts / counts.sum()
    centers = (torch.arange(HISTOGRAM_BINS) + 0.5) / HISTOGRAM_BINS
    below, mean_below = share.cumsum(0), (share * centers).cumsum(0)
    spread = below * (1 - below)
    between = torch.where(spread > 0, (mean_below[-1] * below - mean_below).square() / spread, torch.zeros(()))
    # If no values fall between the classes, the maximum is a plateau; its middle is farthest from both.
    best = torch.nonzero(between >= between.max() * (1 - 1e-6)).flatten()
    return float(centers[best].mean() + 0.5 / HISTOGRAM_BINS)
