"""The final blend, in pixels: outside the mask the result equals the source bit for bit, untouched by the VAE.

Images are floating point [B, H, W, 3] in 0..1; masks are [B, H, W], 0 (keep) to 1 (use the edit).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .blend_mask import LATENT_SCALE, checked_mask

Blend = Literal["feather", "poisson"]

BLEED = 2 * LATENT_SCALE
"""How far, in pixels, the decoder spreads color from inside the mask to the outside."""
CONTRAST_PRIOR = 0.1**2
"""The variance at which the measured contrast gain has the same weight as the prior, a gain of 1."""


@dataclass(frozen=True)
class Composite:
    """The picture [B, H, W, 3], and the weight [B, H, W] of the edit in it: exactly 0 where the picture is the source."""

    picture: Tensor
    weight: Tensor


def composite_pixels(
    source: Tensor, edited: Tensor, mask: Tensor, feather: int = 0, match_colour: bool = False, blend: Blend = "feather"
) -> Composite:
    """`source` where the mask is 0, `edited` inside, with a seam that is entirely inside the mask.

    Args:
        source: [B, H, W, 3].
        edited: [B, H, W, 3], or [B, H8, W8, 3] padded on the right and bottom to multiples of eight; the padding is cut off.
        mask: any size; resized (bilinear) to the source. A batch of one, here or above, serves every image.
        feather: width in pixels of the fade-in of the edit, from the mask's edge inward.
        match_colour: first match the mean and standard deviation of each channel of the edit to the source, measured over the
            unmasked pixels, because an autoencoder shifts colors everywhere.
        blend: "poisson" also fits the edit's gradients into the source (Perez et al. 2003; OpenCV's seamlessClone, which
            works in 8 bits).

    Returns:
        The picture is [max B, H, W, 3] in the source's dtype; it equals the source bit for bit wherever the resized mask is 0.

    Raises:
        ValueError: if sizes or batches do not fit, a value is not finite, or `feather` is negative.
    """
    require_image(source, "source")
    require_image(edited, "edited image")
    edited = _without_padding(edited, source)
    mask = resized_mask(checked_mask(mask), source.shape[1], source.shape[2])
    return composite_equal_sizes(source, edited, mask, feather, match_colour, blend)


def composite_equal_sizes(
    source: Tensor,
    edited: Tensor,
    mask: Tensor,
    feather: int,
    match_colour: bool,
    blend: Blend,
    least_weight: float = 0.0,
) -> Composite:
    """The composite of an edit and a mask of the source's size; below `least_weight` the edit counts as absent."""
    if feather < 0:
        raise ValueError(f"feather is {feather}; give 0 or more pixels.")
    dtype, source = source.dtype, source.to(torch.promote_types(source.dtype, torch.float32))
    batch = _common_batch({"source": len(source), "edited image": len(edited), "mask": len(mask)})
    source, edited, mask = (tensor.expand(batch, *tensor.shape[1:]) for tensor in (source, edited, mask))
    mask = mask.to(source.device)
    edited = edited.to(source)
    if match_colour:
        edited = matched_color(edited, source, mask)
    if blend == "poisson":
        edited = torch.stack([_cloned(*row) for row in zip(source, edited, mask, strict=True)])
    alpha = feathered_inside(mask, feather)[..., None]
    alpha = torch.where(alpha < least_weight, 0.0, alpha)
    blended = torch.where(alpha == 1, edited, torch.lerp(source, edited, alpha))
    return Composite(torch.where(alpha == 0, source, blended).to(dtype), alpha[..., 0])


def feathered_inside(mask: Tensor, pixels: int) -> Tensor:
    """The mask [B, H, W] times a ramp that rises from its edge (exclusive) to 1 over `pixels` pixels; never grows the mask."""
    if pixels == 0:
        return mask
    from scipy.ndimage import distance_transform_edt

    rows = []
    for row in mask:
        inside = (row > 0).cpu().numpy()
        if inside.all():
            rows.append(torch.ones_like(row))
            continue
        # The outermost pixels inside the mask are at distance 1 from the unmasked area.
        rows.append(torch.from_numpy(distance_transform_edt(inside)).to(row) / (pixels + 1))
    return mask * torch.stack(rows).clamp(0, 1)


def matched_color(edited: Tensor, source: Tensor, mask: Tensor) -> Tensor:
    """The edit [B, H, W, 3] with each channel's mean and standard deviation matched to the source over the unmasked pixels.

    A plain background has no contrast to compare: its deviation is the autoencoder's own noise, and matching it would bleach
    or gray the painted area. So `CONTRAST_PRIOR` is added to both variances. Pixels within `BLEED` of the mask are left out if
    others remain, because the decoder tints them with the painted area. An image without unmasked pixels is left unchanged.
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
    """The unmasked pixels [B, H, W] farther than `BLEED` from the mask, or all unmasked ones in rows that have none that far."""
    size = 2 * BLEED + 1
    near = F.max_pool2d(mask[:, None], (size, 1), 1, (BLEED, 0))
    far = F.max_pool2d(near, (1, size), 1, (0, BLEED))[:, 0] == 0
    return torch.where(far.any(2, keepdim=True).any(1, keepdim=True), far, mask == 0)


def _cloned(source: Tensor, edited: Tensor, mask: Tensor) -> Tensor:
    """seamlessClone of one image; an added border allows masks that touch the image's edge."""
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


def require_image(image: Tensor, name: str) -> None:
    if image.ndim == 4 and image.shape[-1] == 4:
        raise ValueError(f"the {name} has 4 channels; give it without its transparency.")
    if image.ndim != 4 or image.shape[-1] != 3 or image.numel() == 0:
        raise ValueError(f"the {name} has the shape {tuple(image.shape)}; give an image [batch, height, width, 3].")
    if not bool(torch.isfinite(image).all()):
        raise ValueError(f"the {name} holds NaN or infinite values; check the node that made it.")


def _without_padding(edited: Tensor, source: Tensor) -> Tensor:
    height, width = source.shape[1:3]
    padded = tuple(math.ceil(side / LATENT_SCALE) * LATENT_SCALE for side in (height, width))
    if tuple(edited.shape[1:3]) not in ((height, width), padded):
        raise ValueError(
            f"the edited image is {edited.shape[2]} x {edited.shape[1]}, the source {width} x {height}. Encoding to a latent "
            "crops sides that are not multiples of 8: give the source at that size, or pad it before encoding (the padding is "
            "cut off here)."
        )
    return edited[:, :height, :width]


def resized_mask(mask: Tensor, height: int, width: int) -> Tensor:
    if mask.shape[1:] == (height, width):
        return mask
    return F.interpolate(mask[:, None], (height, width), mode="bilinear")[:, 0]


def _common_batch(sizes: dict[str, int]) -> int:
    largest = max(sizes.values())
    if any(size not in (1, largest) for size in sizes.values()):
        told = ", ".join(f"{size} in the {name}" for name, size in sizes.items())
        raise ValueError(f"the batches do not fit together ({told}); give one of each, or the same number of each.")
    return largest
