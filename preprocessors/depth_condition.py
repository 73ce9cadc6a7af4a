"""Depth conditioning for SD2's depth checkpoints: a fifth channel, concatenated with the noisy latent."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def depth_condition(depth: Tensor, height: int, width: int) -> Tensor:
    """Depth maps [B, H, W, C] (near is bright, any range) as [B, 1, height, width] at latent size, each in -1..1.

    They are resized (bicubic), then stretched one by one, as in diffusers' StableDiffusionDepth2ImgPipeline.
    Raises ValueError for another shape, for values that are not finite, and for constant depth.
    """
    if depth.ndim != 4 or depth.numel() == 0:
        raise ValueError(
            f"the depth has the shape {tuple(depth.shape)}; give an image [batch, height, width, channels]."
        )
    if not bool(torch.isfinite(depth).all()):
        raise ValueError("the depth holds NaN or infinite values; look at the node that estimated it.")
    planes = depth.float().mean(dim=-1)[:, None]
    resized = F.interpolate(planes, (height, width), mode="bicubic", align_corners=False)
    low, high = resized.amin((1, 2, 3), keepdim=True), resized.amax((1, 2, 3), keepdim=True)
    flat = (high <= low).flatten().nonzero().flatten().tolist()
    if flat:
        raise ValueError(f"the depth of image {flat[0]} is the same everywhere; give a depth map of the scene.")
    return 2 * (resized - low) / (high - low) - 1
