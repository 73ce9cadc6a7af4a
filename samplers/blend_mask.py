"""Masks for blending: validate, shape, and downscale to latent size without losing thin strokes.

Masks are float32 [B, H, W], 0 (keep) to 1 (repaint).
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

LatentSize = Literal["area", "maximum"]
LATENT_SCALE = 8

# Resizing can push values this far outside 0..1. Anything beyond that is not a mask.
ROUNDING = 1e-4


def checked_mask(mask: Tensor) -> Tensor:
    """A mask [H, W], [B, H, W] or [B, 1, H, W] as float32 [B, H, W].

    Raises ValueError for another shape, an empty batch, values that are not finite, and values outside 0..1.
    """
    if mask.ndim == 2:
        mask = mask[None]
    if mask.ndim == 4 and mask.shape[1] == 1:
        mask = mask[:, 0]
    if mask.ndim != 3 or mask.numel() == 0:
        raise ValueError(f"the mask has the shape {tuple(mask.shape)}; give a mask [batch, height, width].")
    mask = mask.float()
    if not bool(torch.isfinite(mask).all()):
        raise ValueError("the mask holds NaN or infinite values; check the node that made it.")
    low, high = float(mask.min()), float(mask.max())
    if low < -ROUNDING or high > 1 + ROUNDING:
        raise ValueError(
            f"the mask's values run from {low:.4g} to {high:.4g}; a mask lies between 0 and 1: scale it to that range."
        )
    return mask.clamp(0, 1)


def require_painted(mask: Tensor, way_out: str) -> None:
    """Raise ValueError if a row of a mask [B, ...] is 0 everywhere, so that its image would not change."""
    for row, plane in enumerate(mask):
        if not bool(plane.any()):
            which = f"the mask of image {row + 1} of {len(mask)}" if len(mask) > 1 else "the mask"
            raise ValueError(f"{which} is empty (0 everywhere), so that nothing would be painted; {way_out}.")


def fill_holes(mask: Tensor) -> Tensor:
    """Set regions below 0.5 that do not reach the border to 1."""
    from scipy.ndimage import binary_fill_holes

    inside = mask >= 0.5
    filled = torch.stack([torch.from_numpy(binary_fill_holes(row.cpu().numpy())) for row in inside]).to(mask.device)
    return torch.where(filled & ~inside, 1.0, mask)


def grow_mask(mask: Tensor, pixels: int) -> Tensor:
    """Dilate by a square of `pixels` to each side; a negative number erodes.

    Pixels beyond the border do not count: a mask that touches the border does not shrink from there.
    """
    size = 2 * abs(pixels) + 1
    sign = 1 if pixels > 0 else -1
    grown = sign * mask[:, None]
    for kernel in ((size, 1), (1, size)):
        grown = F.max_pool2d(grown, kernel, stride=1, padding=(kernel[0] // 2, kernel[1] // 2))
    return sign * grown[:, 0]


def feather_mask(mask: Tensor, pixels: int) -> Tensor:
    """Soften the edge over about `pixels` to either side, with a Gaussian of standard deviation pixels / 2."""
    if pixels == 0:
        return mask
    offsets = torch.arange(-2 * pixels, 2 * pixels + 1).to(mask)
    weights = torch.exp(-0.5 * (offsets / (pixels / 2)).square())
    weights = (weights / weights.sum()).view(1, 1, 1, -1)
    blurred = mask[:, None]
    for kernel in (weights, weights.transpose(2, 3)):
        down, across = kernel.shape[-2] // 2, kernel.shape[-1] // 2
        blurred = F.conv2d(F.pad(blurred, (across, across, down, down), mode="replicate"), kernel)
    return blurred[:, 0].clamp(0, 1)


def snap_mask(mask: Tensor, margin: float) -> Tensor:
    """Set values up to `margin` to 0 and values from 1 - margin to 1, so that what looks unmasked is kept exactly.

    Raises ValueError unless 0 <= margin < 0.5.
    """
    if not 0 <= margin < 0.5:
        raise ValueError(f"snap is {margin}; give 0 (off) to less than 0.5.")
    if margin == 0:
        return mask
    return torch.where(mask <= margin, 0.0, torch.where(mask >= 1 - margin, 1.0, mask))


def to_latent_size(mask: Tensor, method: LatentSize) -> Tensor:
    """Downscale to [B, ceil(H / 8), ceil(W / 8)]: the mean ("area") or maximum ("maximum") of each 8 x 8 block.

    Both keep strokes thinner than eight pixels, which nearest-neighbor resizing loses: "area" as gray, "maximum" in full.
    """
    padded = pad_mask(mask)[:, None]
    pool = F.avg_pool2d if method == "area" else F.max_pool2d
    return pool(padded, LATENT_SCALE)[:, 0]


def pad_mask(mask: Tensor) -> Tensor:
    """Repeat the last column and row of [B, H, W] until both sides are multiples of eight."""
    return _pad_to_eight(mask[:, None])[:, 0]


def pad_image(image: Tensor) -> Tensor:
    """`pad_mask` for an image [B, H, W, C]."""
    return _pad_to_eight(image.movedim(-1, 1)).movedim(1, -1)


def _pad_to_eight(planes: Tensor) -> Tensor:
    height, width = planes.shape[-2:]
    return F.pad(planes, (0, -width % LATENT_SCALE, 0, -height % LATENT_SCALE), mode="replicate")
