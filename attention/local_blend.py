"""Local blend: outside the regions of the edited words the target is the source (prompt-to-prompt's reference code)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class LocalBlend:
    """Settings of the blend.

    Attributes:
        words: for each row (the source, then the targets) the indices of the tokens whose map opens the mask; all empty to
            open it everywhere.
        subtracted: the same for the tokens whose map closes the mask; all empty to close nothing.
        threshold, subtract_threshold: the value above which a map, divided by its maximum, belongs to the region.
        start: the fraction of the steps, from the noise end, before the blend begins.
        region: [1 or targets, 1, H, W] in 0..1, any size: the mask is closed where at most half of a latent pixel is inside;
            None for the whole picture.
    """

    words: tuple[tuple[int, ...], ...]
    subtracted: tuple[tuple[int, ...], ...]
    threshold: float = 0.3
    subtract_threshold: float = 0.3
    start: float = 0.2
    region: Tensor | None = None

    @property
    def reads_maps(self) -> bool:
        """Whether the mask depends on attention maps."""
        return any(self.words) or any(self.subtracted)

    def is_active(self, step: int, steps: int) -> bool:
        """Whether the blend acts after step 0, 1, ... of `steps`."""
        return step >= int(self.start * steps)

    def mask(self, word_maps: Tensor, subtracted_maps: Tensor, size: tuple[int, int]) -> Tensor:
        """Where each row may differ from the source: float32 [R, 1, *size] of 0 and 1, from maps [R, 1, h, w].

        A blend without words uses only the number R of the maps.
        """
        opened = torch.ones(len(word_maps), 1, *size, dtype=torch.bool, device=word_maps.device)
        if any(self.words):
            opened &= map_mask(word_maps, size, self.threshold, pool=True)
        if any(self.subtracted):
            opened &= ~map_mask(subtracted_maps, size, self.subtract_threshold, pool=False)
        if self.region is not None:
            within = F.interpolate(self.region.to(word_maps), size, mode="area") > 0.5
            # The source never differs from itself, so its mask does not matter.
            opened &= within if len(within) == 1 else torch.cat([within[:1], within])
        return opened.float()


def word_map(probabilities: Tensor, tokens: Sequence[int]) -> Tensor:
    """The total attention [pixels] to the tokens, averaged over heads, from probabilities [heads, pixels, K]."""
    return probabilities[..., list(tokens)].sum(-1).mean(0)


def sum_at_largest_size(maps: Sequence[Tensor]) -> Tensor:
    """The sum [h, w] of maps of several sizes, each resized to the largest of them."""
    size = max(each.shape for each in maps)
    return torch.stack([F.interpolate(each[None, None], size=size)[0, 0] for each in maps]).sum(0)


def map_mask(maps: Tensor, size: tuple[int, int], threshold: float, pool: bool) -> Tensor:
    """Where a row's map or the source's, divided by its maximum, exceeds the threshold: [R, 1, h, w] to bool [R, 1, *size]."""
    if pool:
        maps = F.max_pool2d(maps, 3, stride=1, padding=1)
    maps = F.interpolate(maps, size=size)
    mask = maps / maps.amax((2, 3), keepdim=True) > threshold
    return mask[:1] | mask


def blend_rows(x: Tensor, mask: Tensor) -> Tensor:
    """x [R, C, H, W] with the first row in place of every row where mask [R, 1, H, W] is 0."""
    return torch.where(mask.to(x) > 0.5, x, x[:1])
