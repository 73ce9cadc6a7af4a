"""PSNR, SSIM and a heat map of the difference of two images, over the whole image or one side of a mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from ..samplers.blend_mask import checked_mask

Region = Literal["all", "inside", "outside"]

# An evenly spaced ramp from dark to bright, similar to matplotlib's inferno.
HEAT_COLORS = ((0.0, 0.0, 0.02), (0.34, 0.06, 0.43), (0.73, 0.21, 0.33), (0.98, 0.55, 0.04), (0.99, 1.0, 0.64))


SSIM_WINDOW = 11
SMALLEST_SIDE = SSIM_WINDOW // 2 + 1
"""The shortest side, in pixels, at which the window can be reflected at the border."""


@dataclass(frozen=True)
class Comparison:
    """psnr (dB, inf if identical) and ssim (-1..1), one value per image; heat_map is float32 [B, H, W, 3] in 0..1."""

    psnr: tuple[float, ...]
    ssim: tuple[float, ...]
    heat_map: Tensor

    @property
    def mean_psnr(self) -> float:
        return sum(self.psnr) / len(self.psnr)

    @property
    def mean_ssim(self) -> float:
        return sum(self.ssim) / len(self.ssim)


def compare_images(
    first: Tensor, second: Tensor, mask: Tensor | None = None, region: Region = "all", brightest_at: float = 0.25
) -> Comparison:
    """Compare images [B, H, W, C] in 0..1 pair by pair; a batch of 1 is compared with every image of the other batch.

    Args:
        first, second: RGB or RGBA, of equal size.
        mask: [b, h, w] in 0..1, resized to the images; soft values weight the pixels.
        region: the side of the mask that counts. "all" ignores the mask.
        brightest_at: the difference (mean over channels) that has the heat map's brightest color.

    Raises:
        ValueError: if sizes, batches or alpha channels differ, a side is under 6 pixels, a value is not finite, the mask
            leaves 0..1, `region` needs a mask and there is none, or no pixel is in the region.
    """
    alphas = [_alpha(images) for images in (first, second)]
    first, second = (images[..., :3].float().cpu() for images in (first, second))
    batch = max(len(first), len(second))
    _require_one_size(first, second)
    if first.shape[-1] != second.shape[-1] or any(len(images) not in (1, batch) for images in (first, second)):
        raise ValueError(
            f"the pictures have the shapes {tuple(first.shape)} and {tuple(second.shape)}; "
            "give two color pictures, with equal batches or a single picture on one side."
        )
    if not torch.equal(*torch.broadcast_tensors(*alphas)):
        raise ValueError(
            "the pictures differ in transparency, which PSNR and SSIM do not measure; flatten both onto a background, or "
            "remove their alpha channels."
        )
    if not bool(torch.isfinite(first).all() and torch.isfinite(second).all()):
        raise ValueError(
            "a picture has NaN or infinite values; check the upstream nodes (a VAE in half precision is a common cause)."
        )
    first, second = first.expand(batch, -1, -1, -1), second.expand(batch, -1, -1, -1)
    weight = _weight(mask, region, first)
    share = weight / weight.sum(dim=(1, 2), keepdim=True)
    mse = ((first - second).square().mean(dim=-1) * share).sum(dim=(1, 2))
    similarity = (_ssim_map(first, second) * share).sum(dim=(1, 2))
    difference = (first - second).abs().mean(dim=-1) * (weight > 0)
    return Comparison(
        psnr=tuple((-10 * torch.log10(mse)).tolist()),
        ssim=tuple(similarity.tolist()),
        heat_map=heat_colors((difference / brightest_at).clamp(0, 1)),
    )


def _alpha(images: Tensor) -> Tensor:
    """The alpha channel [B, H, W]; 1 if there is no alpha channel."""
    return images[..., 3].float().cpu() if images.shape[-1] > 3 else images.new_ones(1, 1, 1, dtype=torch.float32).cpu()


def _require_one_size(first: Tensor, second: Tensor) -> None:
    (height, width), (other_height, other_width) = first.shape[1:3], second.shape[1:3]
    if (height, width) != (other_height, other_width):
        raise ValueError(
            f"the pictures are {width} x {height} and {other_width} x {other_height} pixels; give two of the same size. "
            "Encoding to a latent crops sides that are not multiples of 8: resize or crop the photo to such a size first."
        )
    if min(height, width) < SMALLEST_SIDE:
        raise ValueError(
            f"the pictures are {width} x {height} pixels, but SSIM, with its window of {SSIM_WINDOW} x {SSIM_WINDOW}, needs "
            f"at least {SMALLEST_SIDE} pixels per side; give larger pictures."
        )


def _weight(mask: Tensor | None, region: Region, images: Tensor) -> Tensor:
    batch, height, width = images.shape[:3]
    if region == "all":
        return torch.ones(batch, height, width)
    if mask is None:
        raise ValueError(f"region is {region!r}, but there is no mask; connect one, or choose all.")
    mask = checked_mask(mask)
    if len(mask) not in (1, batch):
        raise ValueError(f"{len(mask)} masks were given for {batch} pictures; give one mask, or one per picture.")
    resized = functional.interpolate(mask.cpu().unsqueeze(1), size=(height, width), mode="area")[:, 0]
    weight = (resized if region == "inside" else 1 - resized).expand(batch, -1, -1)
    if bool((weight.sum(dim=(1, 2)) <= 0).any()):
        raise ValueError(f"no pixel lies {region} the mask; invert the mask or choose another region.")
    return weight


def _ssim_map(first: Tensor, second: Tensor) -> Tensor:
    """SSIM of Wang et al. (2004) with its Gaussian window, mean over channels, [B, H, W]."""
    # kornia comes with ComfyUI. Importing it takes a second, which should not delay ComfyUI's start.
    from kornia.metrics import ssim

    return ssim(first.movedim(-1, 1), second.movedim(-1, 1), window_size=SSIM_WINDOW).mean(dim=1)


def heat_colors(values: Tensor) -> Tensor:
    ramp = torch.tensor(HEAT_COLORS)
    position = values * (len(ramp) - 1)
    low = position.floor().clamp(max=len(ramp) - 2).long()
    return torch.lerp(ramp[low], ramp[low + 1], (position - low).unsqueeze(-1))
