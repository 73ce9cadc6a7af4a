"""The attention edits of prompt-to-prompt (Hertz et al. 2022, arXiv 2208.01626), as functions of probabilities and steps."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .alignment import Alignment


@dataclass(frozen=True)
class CrossEdit:
    """The edit of the cross-attention of one target prompt of K tokens.

    Attributes:
        alignment: with the source prompt.
        equalizer: float32 [K], a factor for each token's attention (section 3.2, "Attention re-weighting"); 1 changes nothing.
        fractions: float64 [K], the fraction of the steps, from the noise end, during which a token is edited.
    """

    alignment: Alignment
    equalizer: Tensor
    fractions: Tensor

    @property
    def is_active(self) -> bool:
        """Whether any token is edited in any step."""
        return bool((self.fractions > 0).any())

    def to(self, device: torch.device) -> CrossEdit:
        """The same edit with its tensors on a device."""
        alignment = Alignment(self.alignment.mapper.to(device), self.alignment.covered.to(device))
        # Some devices do not support float64, and the fractions are used only on the CPU.
        return CrossEdit(alignment, self.equalizer.to(device), self.fractions)


def edit_cross_attention(edit: CrossEdit, source: Tensor, target: Tensor, step: int, steps: int) -> Tensor:
    """The target's edited probabilities [..., K], from its own and the source's [..., K_source].

    Computed as the target's own plus a difference, so that an edit without effect leaves every bit unchanged. As in the
    reference, the result is not renormalized.
    """
    aligned = target + edit.alignment.covered * (source @ edit.alignment.mapper - target)
    active = edited_tokens(edit.fractions, step, steps).to(target)
    return target + active * (aligned * edit.equalizer - target)


def edited_tokens(fractions: Tensor, step: int, steps: int) -> Tensor:
    """Which tokens are edited in step 0, 1, ... of `steps`: bool [K]. The reference edits the first int(fraction * (steps + 1))."""
    return step < torch.floor(fractions * (steps + 1))


def replaces_self_attention(fraction: float, step: int, steps: int) -> bool:
    """Whether this step uses the source's self-attention; the reference does so in the first int(fraction * steps) steps."""
    return step < int(fraction * steps)
