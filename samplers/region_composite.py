"""An edit that was made at a model's size, put back into a large picture: every pixel outside the mask stays as it was."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from .blend_mask import checked_mask
from .changed_region import replaced_share
from .guided_difference import fitted_to_edges
from .pixel_composite import Blend, Composite, composite_equal_sizes, require_image, resized_mask
from .working_region import Region, resized

KeptTexture = Literal["everywhere", "everywhere, edges too", "around the change"]

LEAST_WEIGHT = 1 / 255
"""What a mask of eight bits can show: where a saved mask is black, the saved picture is the photo."""


def composite_region(
    source: Tensor,
    edited: Tensor,
    mask: Tensor,
    feather: int,
    match_colour: bool,
    blend: Blend,
    region: Region,
    round_trip: Tensor | None = None,
    kept_texture: KeptTexture = "everywhere",
) -> Composite:
    """`composite_pixels` of a part of the source that was edited at another size.

    Args:
        edited: [B, h, w, 3] of any size; it is resized to the region. So are `mask` and `round_trip`, which cover the region too.
        round_trip: the same part without the edit, from the same decoder and at the same size. The difference that the edit
            made is then added to the source in place of the edit itself, so that the source's own texture stays.
        kept_texture: with a round trip, whether the texture stays everywhere, which suits changes of color and light, also with
            the change fitted to the source's edges, or only around what the edit replaced by something else, of which it
            would leave a ghost.

    Raises:
        ValueError: as in `composite_pixels`, and if the round trip has another size than the edit.
    """
    require_image(source, "source")
    require_image(edited, "edited image")
    part = region.cut(source)
    working = part.to(torch.promote_types(part.dtype, torch.float32))
    size = region.width, region.height
    if round_trip is None:
        edited = resized(edited, *size).clamp(0, 1)
    else:
        require_image(round_trip, "round trip")
        if round_trip.shape[1:] != edited.shape[1:]:
            raise ValueError(
                f"the round trip is {round_trip.shape[2]} x {round_trip.shape[1]}, the edited image {edited.shape[2]} x "
                f"{edited.shape[1]}; decode both at the same size."
            )
        difference = edited - round_trip
        fitted = kept_texture == "everywhere, edges too"
        changed = working + (fitted_to_edges(difference, working) if fitted else resized(difference, *size)).to(working)
        if kept_texture == "around the change":
            lost = resized(replaced_share(edited, round_trip)[..., None], *size).clamp(0, 1).to(working)
            changed = changed - lost * (working - resized(round_trip, *size).to(working))
        edited = changed.clamp(0, 1)
    mask = resized_mask(checked_mask(mask), region.height, region.width)
    composited = composite_equal_sizes(part, edited, mask, feather, match_colour, blend, LEAST_WEIGHT)
    batch = len(composited.picture)
    picture = source.expand(batch, *source.shape[1:]).clone()
    region.cut(picture)[:] = composited.picture.to(picture)
    weight = torch.zeros(batch, *source.shape[1:3], dtype=composited.weight.dtype, device=source.device)
    region.cut(weight)[:] = composited.weight
    return Composite(picture, weight)
