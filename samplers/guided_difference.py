"""A change of color or light, fitted to the edges of the photo that it changes: a joint bilateral and a guided filter."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .working_region import resized

REACH, STEP = 12, 2
"""Pixels that the bilateral filter looks around: one and a half cells of the latent, as decoded outlines are off by up to one."""
NEAR, ALIKE = 10.0, 0.1
"""Its standard deviations, in pixels and in color, 0 to 1."""
RADIUS = 4
"""Pixels of the reach of the guided filter's windows."""
EPSILON = 1e-3
"""The variance of a color, 0 to 1, below which such a window counts as flat."""


def fitted_to_edges(difference: Tensor, photo: Tensor) -> Tensor:
    """What a difference between two pictures of a model is in the photo: float32 [B, H, W, 3].

    It begins and ends where the photo has its edges: first each place takes the mean difference of what has its color nearby
    (the joint bilateral filter of Petschnigg et al. 2004, ACM TOG 23(3), equation 4). Then the difference in each window
    is replaced by the affine function of the photo's color that fits it best (the guided filter of He, Sun and Tang 2013,
    IEEE TPAMI 35(6), equations 19 and 20). The functions are computed at the size of the difference and enlarged (the fast
    guided filter of He and Sun 2015, arXiv 1505.00996), so that edges are as fine as the photo's.

    Args:
        difference: [B, h, w, 3], of pictures from 0 to 1.
        photo: [B or 1, H, W, 3], of the same aspect.
    """
    height, width = photo.shape[1:3]
    rows, columns = difference.shape[1:3]
    photo = photo.to(torch.float32).expand(len(difference), -1, -1, -1)
    guide = resized(photo, columns, rows)
    slopes, offsets = _affine_functions(guide, _mean_of_alike(difference.to(photo), guide))
    fitted = [(resized(slopes[..., channel], width, height) * photo).sum(-1) for channel in range(3)]
    return torch.stack(fitted, -1) + resized(offsets, width, height)


def _mean_of_alike(difference: Tensor, guide: Tensor) -> Tensor:
    """The joint bilateral filter: the mean over what is near and has a like color in the guide."""
    rows, columns = guide.shape[1:3]
    both = torch.cat([guide, difference], -1).movedim(-1, 1)
    around = F.pad(both, [REACH] * 4, mode="replicate").movedim(1, -1)
    total, weights = torch.zeros_like(difference), torch.zeros_like(difference[..., :1])
    for down in range(-REACH, REACH + 1, STEP):
        for right in range(-REACH, REACH + 1, STEP):
            top, left = down + REACH, right + REACH
            color, change = around[:, top : top + rows, left : left + columns].split(3, -1)
            unlike = (color - guide).square().sum(-1, keepdim=True) / ALIKE**2
            weight = torch.exp(-(unlike + (down**2 + right**2) / NEAR**2) / 2)
            total, weights = total + weight * change, weights + weight
    return total / weights


def _affine_functions(guide: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Per pixel the slopes [B, h, w, 3 of the guide, 3 of the values] and offsets [B, h, w, 3], averaged over its windows."""
    mean_guide, mean_values = _window_mean(guide), _window_mean(values)
    covariance = _window_mean(_outer(guide, guide)) - _outer(mean_guide, mean_guide)
    shared = _window_mean(_outer(guide, values)) - _outer(mean_guide, mean_values)
    slopes = torch.linalg.solve(covariance + EPSILON * torch.eye(3).to(guide), shared)
    offsets = mean_values - (mean_guide[..., None] * slopes).sum(-2)
    return _window_mean(slopes), _window_mean(offsets)


def _outer(one: Tensor, other: Tensor) -> Tensor:
    return one[..., :, None] * other[..., None, :]


def _window_mean(planes: Tensor) -> Tensor:
    """The mean of [B, h, w, ...] over each pixel's window, which ends with the picture."""
    flat = planes.flatten(3).movedim(-1, 1)
    mean = F.avg_pool2d(flat, 2 * RADIUS + 1, stride=1, padding=RADIUS, count_include_pad=False)
    return mean.movedim(1, -1).reshape(planes.shape)
