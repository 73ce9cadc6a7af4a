"""The last blend, in pixels: what a mask keeps is the source itself, bit for bit; an autoencoder never touched it.

Images are floating point [B, H, W, 3], 0 to 1; masks [B, H, W], 0 (keep) to 1 (take the edit).
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .blend_mask import LATENT_SCALE, checked_mask

Blend = Literal["feather", "poisson"]

BLEED = 2 * LATENT_SCALE
"""Pixels beyond a mask's edge that the decoder tints with what was painted inside."""
CONTRAST_PRIOR = 0.1**2
"""The variance of surroundings whose contrast counts as much as the assumption that there is none to correct."""


def composite_pixels(
    source: Tensor, edited: Tensor, mask: Tensor, feather: int = 0, match_colour: bool = False, blend: Blend = "feather"
) -> Tensor:
    """`source` where the mask is 0, `edited` inside, with a seam inside the mask only.

    Args:
        source: [B, H, W, 3].
        edited: [B, H, W, 3], or [B, H8, W8, 3] padded to multiples of eight on the right and below, which is cut off.
        mask: any size; it is resized (bilinear) to the source. Batches of one serve every image.
        feather: pixels over which the edit fades in, counted from the mask's edge inwards.
        match_colour: first fit the edit's mean and deviation of each channel to the source's over the kept pixels (what an
            autoencoder shifts in color, it shifts everywhere).
        blend: "poisson" also fits the edit's gradients into the source (Perez et al. 2003; OpenCV's seamlessClone, which
            works in 8 bits).

    Returns [max B, H, W, 3] in the source's dtype; wherever the resized mask is 0 it equals the source bit for bit.
    Raises ValueError for sizes and batches that do not fit, NaN, or a negative feather.
    """
    _require_image(source, "source")
    _require_image(edited, "edited image")
    if feather < 0:
        raise ValueError(f"feather is {feather}; give 0 or more pixels.")
    dtype, source = source.dtype, source.to(torch.promote_types(source.dtype, torch.float32))
    edited = _without_padding(edited, source)
    mask = _resized(checked_mask(mask), source.shape[1], source.shape[2])
    batch = _common_batch({"source": len(source), "edited image": len(edited), "mask": len(mask)})
    source, edited, mask = (tensor.expand(batch, *tensor.shape[1:]) for tensor in (source, edited, mask))
    mask = mask.to(source.device)
    edited = edited.to(source)
    if match_colour:
        edited = matched_color(edited, source, mask)
    if blend == "poisson":
        edited = torch.stack([_cloned(*row) for row in zip(source, edited, mask, strict=True)])
    alpha = feathered_inside(mask, feather)[..., None]
    blended = torch.where(alpha == 1, edited, torch.lerp(source, edited, alpha))
    return torch.where(alpha == 0, source, blended).to(dtype)


def feathered_inside(mask: Tensor, pixels: int) -> Tensor:
    """The mask [B, H, W] times a ramp that rises from its edge (exclusive) to 1 over `pixels` pixels, never outside."""
    if pixels == 0:
        return mask
    from scipy.ndimage import distance_transform_edt

    rows = []
    for row in mask:
        inside = (row > 0).cpu().numpy()
        if inside.all():
            rows.append(torch.ones_like(row))
            continue
        # The outermost pixel inside is at distance 1 from the kept ones.
        rows.append(torch.from_numpy(distance_transform_edt(inside)).to(row) / (pixels + 1))
    return mask * torch.stack(rows).clamp(0, 1)


def matched_color(edited: Tensor, source: Tensor, mask: Tensor) -> Tensor:
    """The edit [B, H, W, 3] with the source's mean and deviation of each channel over the kept pixels (mask 0).

    Plain surroundings say nothing of contrast: their deviation is the autoencoder's own noise, and to match that would bleach
    or gray what was painted. So each variance counts beside `CONTRAST_PRIOR`. Pixels within `BLEED` of the mask do not count
    where others are left: the decoder spreads what was painted over them. An image that keeps nothing stays as it is.
    """
    kept = _untouched(mask)[..., None].to(source)
    count = kept.sum((1, 2), keepdim=True)
    means, variances = [], []
    for image in (edited, source):
        mean = (image * kept).sum((1, 2), keepdim=True) / count.clamp(min=1)
        means.append(mean)
        variances.append(((image - mean).square() * kept).sum((1, 2), keepdim=True) / count.clamp(min=1))
    gain = ((variances[1] + CONTRAST_PRIOR) / (variances[0] + CONTRAST_PRIOR)).sqrt()
    matched = (edited - means[0]) * gain + means[1]
    return torch.where(count > 0, matched, edited).clamp(0, 1)


def _untouched(mask: Tensor) -> Tensor:
    """The kept pixels [B, H, W] further than `BLEED` from the mask, or all kept ones of a row that has none so far."""
    size = 2 * BLEED + 1
    near = F.max_pool2d(mask[:, None], (size, 1), 1, (BLEED, 0))
    far = F.max_pool2d(near, (1, size), 1, (0, BLEED))[:, 0] == 0
    return torch.where(far.any(2, keepdim=True).any(1, keepdim=True), far, mask == 0)


def _cloned(source: Tensor, edited: Tensor, mask: Tensor) -> Tensor:
    """seamlessClone of one image; a border of its own lets masks touch the image's edge."""
    import cv2

    inside = (mask >= 0.5).cpu().numpy().astype(np.uint8) * 255
    if not inside.any():
        return edited
    border = 2
    target, patch = (
        cv2.copyMakeBorder(_eight_bits(image), border, border, border, border, cv2.BORDER_REPLICATE)
        for image in (source, edited)
    )
    inside = cv2.copyMakeBorder(inside, border, border, border, border, cv2.BORDER_CONSTANT, value=0)
    x, y, width, height = cv2.boundingRect(inside)
    cloned = cv2.seamlessClone(patch, target, inside, (x + width // 2, y + height // 2), cv2.NORMAL_CLONE)
    cloned = cloned[border:-border, border:-border].astype(np.float32) / 255
    return torch.from_numpy(cloned).to(source)


def _eight_bits(image: Tensor) -> np.ndarray:
    return (image.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()


def _require_image(image: Tensor, name: str) -> None:
    if image.ndim != 4 or image.shape[-1] != 3 or image.numel() == 0:
        raise ValueError(f"the {name} has the shape {tuple(image.shape)}; give an image [batch, height, width, 3].")
    if not bool(torch.isfinite(image).all()):
        raise ValueError(f"the {name} holds NaN or infinite values; look at the node that made it.")


def _without_padding(edited: Tensor, source: Tensor) -> Tensor:
    height, width = source.shape[1:3]
    padded = tuple(math.ceil(side / LATENT_SCALE) * LATENT_SCALE for side in (height, width))
    if tuple(edited.shape[1:3]) not in ((height, width), padded):
        raise ValueError(
            f"the edited image is {edited.shape[2]} x {edited.shape[1]}, the source {width} x {height}. Encoding to a latent "
            "crops sizes that are no multiple of 8: pad the image before, which is cut back here."
        )
    return edited[:, :height, :width]


def _resized(mask: Tensor, height: int, width: int) -> Tensor:
    if mask.shape[1:] == (height, width):
        return mask
    return F.interpolate(mask[:, None], (height, width), mode="bilinear")[:, 0]


def _common_batch(sizes: dict[str, int]) -> int:
    largest = max(sizes.values())
    if any(size not in (1, largest) for size in sizes.values()):
        told = ", ".join(f"{size} in the {name}" for name, size in sizes.items())
        raise ValueError(f"the batches do not fit together ({told}); give one of each, or equally many.")
    return largest
