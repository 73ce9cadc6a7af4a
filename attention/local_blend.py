"""Local blend: outside the regions of the edited words, the target equals the source (prompt-to-prompt's reference code)."""

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
        words: for each row (the source, then the targets), the indices of the tokens whose maps open the mask; if all are
            empty, the mask is open everywhere.
        subtracted: the same for the tokens whose maps close the mask; if all are empty, nothing is closed.
        threshold, subtract_threshold: a pixel is in a region if its map, divided by the map's maximum, exceeds this.
        start: the fraction of the steps, from the noise end, before the blend begins.
        region: [1 or targets, 1, H, W] in 0..1, any size: the mask is closed where at most half of a latent pixel is inside;
            None for the whole image.
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

        A blend without words only uses the number of maps, R.
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
    """The sum [h, w] of maps of several sizes, after resizing all to the largest."""
    size = max(each.shape for each in maps)
    return torch.stack([F.interpolate(each[None, None], size=size)[0, 0] for each in maps]).sum(0)


def map_mask(maps: Tensor, size: tuple[int, int], threshold: float, pool: bool) -> Tensor:
    """Where a row's map or the source's, relative to its maximum, exceeds the threshold: [R, 1, h, w] -> bool [R, 1, *size]."""
    if pool:
        maps = F.max_pool2d(maps, 3, stride=1, padding=1)
    maps = F.interpolate(maps, size=size)
    mask = maps / maps.amax((2, 3), keepdim=True) > threshold
    return mask[:1] | mask


def blend_rows(x: Tensor, mask: Tensor) -> Tensor:
    """x [R, C, H, W], with each row replaced by the first row where mask [R, 1, H, W] is 0."""
    return torch.where(mask.to(x) > 0.5, x, x[:1])
