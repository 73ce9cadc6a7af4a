"""Where an edit changed a picture: from the edit and the same picture before it, both out of the same decoder."""

from __future__ import annotations

import torch
from torch import Tensor

from .blend_mask import feather_mask, grow_mask
from .otsu import otsu_threshold

BLUR = 128
"""The picture's shorter side in units of the blur that joins what changed into regions."""
CERTAIN = 0.25
"""A difference that counts as changed whatever the others are: a strong change does not make a weaker one look like none."""
SHADE = 0.06
"""A difference up to which a place only got lighter or darker."""
REACH = 64
"""The picture's shorter side in units of the margin around what was replaced; the decoder blurs outlines over as much."""


def changed_region(edited: Tensor, before: Tensor, smallest: float, grow: int, feather: int) -> Tensor:
    """The mask [B, H, W], 1 where the pictures [B, H, W, C] differ, 0 where they agree, soft at its edge.

    The largest difference of a channel, blurred and clamped to `CERTAIN`, is split in two classes by Otsu's threshold.

    Args:
        before: the picture without the edit; a single one serves all edits.
        smallest: the difference, 0 to 1, below which nothing counts as changed, whatever Otsu's threshold is.
        grow: pixels that are added around it.
        feather: see `feather_mask`.

    Raises ValueError for pictures of different sizes, and for batches that do not fit.
    """
    if edited.shape[1:] != before.shape[1:]:
        raise ValueError(
            f"the edit is {_size(edited)}, the picture before it {_size(before)}; decode both at one size."
        )
    if len(before) not in (1, len(edited)):
        raise ValueError(
            f"there are {len(edited)} edits and {len(before)} pictures before them; give one picture for all edits or one each."
        )
    difference = _blurred_difference(edited, before)
    thresholds = torch.tensor(
        [max(smallest, CERTAIN * otsu_threshold((each / CERTAIN).clamp(max=1))) for each in difference]
    )
    mask = (difference > thresholds.to(difference).view(-1, 1, 1)).float()
    return feather_mask(grow_mask(mask, grow), feather)


def replaced_share(edited: Tensor, before: Tensor) -> Tensor:
    """How much of a place is new in the edit, [B, H, W]: 0 where it is the same or lit otherwise, 1 where it shows another thing.

    Takes pictures as `changed_region`. The share rises with the difference from `SHADE` to `CERTAIN`, and reaches a little beyond.
    """
    share = ((_blurred_difference(edited, before) - SHADE) / (CERTAIN - SHADE)).clamp(0, 1)
    reach = max(1, round(min(share.shape[1:]) / REACH))
    return feather_mask(grow_mask(share, reach), reach)


def _blurred_difference(edited: Tensor, before: Tensor) -> Tensor:
    """The largest difference of a channel, [B, H, W]."""
    difference = (edited - before).abs().amax(-1).float().clamp(0, 1)
    return feather_mask(difference, max(1, round(min(difference.shape[1:]) / BLUR)))


def _size(picture: Tensor) -> str:
    return f"{picture.shape[2]} x {picture.shape[1]} with {picture.shape[3]} channels"
