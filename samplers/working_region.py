"""Large pictures at a model's size: which part is worked on, at what size, and how it is resized on the way there and back.

Images are floating point [B, H, W, C], masks [B, H, W].
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .blend_mask import LATENT_SCALE

LEAST_SIDE = 8 * LATENT_SCALE
"""The smallest working side: a latent of 8 x 8, which survives the three halvings of the network."""
AS_IT_IS = (0.75, 1.5)
"""Pictures of this many times the wanted number of pixels are not resized, if their sides are multiples as wanted."""
WORTH_A_CROP = 0.7
"""A part that covers more of the picture than this fraction is not worth a crop."""
NARROWEST = 0.5
"""The smallest ratio of a crop's shorter side to its longer one."""


@dataclass(frozen=True)
class Region:
    """A rectangle of pixels of a picture, from its top left corner."""

    x: int
    y: int
    width: int
    height: int

    @classmethod
    def of(cls, box: Mapping[str, int], picture: Tensor) -> Region:
        """The region of a mapping of the same names. Raises ValueError unless it lies in the picture [B, H, W, C]."""
        height, width = picture.shape[1:3]
        region = cls(*(int(box[name]) for name in ("x", "y", "width", "height")))
        inside = 0 <= region.x < region.x + region.width <= width and 0 <= region.y < region.y + region.height <= height
        if not inside:
            raise ValueError(
                f"the region {asdict(region)} does not lie in the picture of {width} x {height}; connect the region that was cut "
                "out of this picture."
            )
        return region

    def cut(self, planes: Tensor) -> Tensor:
        """The region of an image or mask [B, H, W, ...], as a view."""
        return planes[:, self.y : self.y + self.height, self.x : self.x + self.width]


def working_size(width: int, height: int, side: int, multiple: int = LATENT_SCALE) -> tuple[int, int]:
    """(width, height) of about side x side pixels: the same aspect up to rounding, both multiples of `multiple`."""
    share = width * height / side**2
    if width % multiple == height % multiple == 0 and AS_IT_IS[0] <= share <= AS_IT_IS[1]:
        return width, height
    scale = 1 / math.sqrt(share)
    return tuple(max(LEAST_SIDE, round(each * scale / multiple) * multiple) for each in (width, height))  # pyright: ignore[reportReturnType]


def region_around(mask: Tensor, side: int, context: float, multiple: int = LATENT_SCALE) -> Region:
    """The part of a picture that an edit inside the mask [B, H, W] needs to see, its sides multiples of `multiple` if possible.

    All masked pixels with `context` times their extent around them, at least side x side pixels where the picture has as many,
    not narrower than `NARROWEST`; the whole picture where that is most of it or nothing is masked.
    """
    height, width = mask.shape[1:]
    whole = Region(0, 0, width, height)
    masked = (mask > 0).any(0)
    if not bool(masked.any()):
        return whole
    (top, bottom), (left, right) = (_extent(masked.any(dim)) for dim in (1, 0))
    margin = 2 * context * max(bottom - top, right - left)
    wide, high = right - left + margin, bottom - top + margin
    wide, high = max(wide, NARROWEST * high), max(high, NARROWEST * wide)
    enlarged = max(1.0, side / math.sqrt(wide * high))
    wide, high = wide * enlarged, high * enlarged
    # What one side lacks at the picture's border the other one gives.
    wide, high = max(wide, side**2 / min(high, height)), max(high, side**2 / min(wide, width))
    wide, high = (min(math.ceil(each / multiple) * multiple, most) for each, most in ((wide, width), (high, height)))
    if wide * high > WORTH_A_CROP * width * height:
        return whole
    x, y = (
        min(max(0, round((first + last - extent) / 2)), most - extent)
        for first, last, extent, most in ((left, right, wide, width), (top, bottom, high, height))
    )
    return Region(x, y, wide, high)


def resized(image: Tensor, width: int, height: int) -> Tensor:
    """The image [B, height, width, C] by antialiased bicubic interpolation, unclamped; itself where it has that size."""
    if tuple(image.shape[1:3]) == (height, width):
        return image
    planes = image.movedim(-1, 1).to(torch.promote_types(image.dtype, torch.float32))
    return F.interpolate(planes, (height, width), mode="bicubic", antialias=True).movedim(1, -1)


def _extent(line: Tensor) -> tuple[int, int]:
    """The first index that is true, and the one after the last."""
    indices = torch.nonzero(line).flatten()
    return int(indices[0]), int(indices[-1]) + 1
