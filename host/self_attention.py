"""Edits of self-attention for batch rows [source, target, ...]: MasaCtrl and plug-and-play."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ..attention.rows import repeat_source
from .backbone import AttentionCall, LayerEdit
from .backbones import backbone_of
from .sampling_run import Options, SamplingRun

CLOSED = -1e4
"""Added to a score where attention is blocked; finite in every dtype, so that a mask that blocks everything gives no NaN."""


@dataclass(frozen=True)
class MaskGuide:
    """Masks of the object, [1, 1, H, W] in 0..1: in the source, and in the targets."""

    source: Tensor
    target: Tensor


def patch_masactrl(
    model: ModelPatcher, start_step: int, start_layer: float, guide: MaskGuide | None, node: str
) -> ModelPatcher:
    """Mutual self-attention (Cao et al. 2023, MasaCtrl, arXiv 2304.08465, eq. 4; with a guide eq. 6 and 7).

    From `start_step` on, the targets' queries attend to the source's keys and values, under the positive and the negative
    prompt alike. The first `start_layer` of the layers, a fraction, stay as they are.

    Raises ValueError for a model without a backbone that can be edited.
    """
    backbone = backbone_of(model)
    running = _RunningMasaCtrl(start_step, guide)
    chosen = backbone.layers[int(start_layer * len(backbone.layers)) :]
    return backbone.install(model, node, running, [LayerEdit(layer, "image", running.mutual) for layer in chosen])


def patch_plug_and_play(
    model: ModelPatcher, attention_fraction: float, feature_fraction: float, node: str
) -> ModelPatcher:
    """Plug-and-play (Tumanyan et al. 2022, arXiv 2211.12572, section 4): features and self-attention of the source.

    In these fractions of the steps, from the noise end, the targets get the source's features in one block of the decoder,
    and the source's queries and keys from that block on.

    Raises ValueError for a model without a backbone that can be edited, and where another node replaces its features.
    """
    backbone = backbone_of(model)
    running = _RunningPlugAndPlay(attention_fraction, feature_fraction)
    chosen = backbone.structure_layers if attention_fraction > 0 else ()
    edits = [LayerEdit(layer, "image", running.self_attention) for layer in chosen]
    patched = backbone.install(model, node, running, edits)
    if feature_fraction > 0:
        backbone.replace_features(patched, running.features)
    return patched


@dataclass
class _RunningWithSource:
    """A run whose first row is the source."""

    run: SamplingRun = field(init=False)

    def begin(self, run: SamplingRun, positive: Sequence[dict[str, Any]]) -> None:
        if run.rows < 2:
            raise run.refusal(
                "the latent batch has one row, but the first row is the source and every other row is a "
                "target; repeat the latent (RepeatLatentBatch) and connect a conditioning with as many rows."
            )
        self.run = run

    def end(self) -> None:
        pass

    def _repeat_source(self, tensor: Tensor, options: Options, tokens: slice = slice(None)) -> Tensor:
        """`repeat_source` under every prompt."""
        prompts = len(options["cond_or_uncond"])
        return repeat_source(tensor, self.run.rows, range(prompts), prompts, tokens)


@dataclass
class _RunningMasaCtrl(_RunningWithSource):
    start_step: int
    guide: MaskGuide | None

    def begin(self, run: SamplingRun, positive: Sequence[dict[str, Any]]) -> None:
        super().begin(run, positive)
        if self.guide is not None and run.has_areas:
            raise run.refusal(
                "a conditioning has an area, but source_mask and target_mask cover the whole "
                "picture; leave out Conditioning (Set Area) and the mask bounds of Conditioning (Set Mask), or the masks."
            )

    def mutual(self, call: AttentionCall) -> Tensor | None:
        """Eq. 4, or with a guide eq. 6 and 7: the target's object attends to the source's object, the rest to the rest."""
        if self.run.step(call.options) < self.start_step:
            return None
        keys, values = (self._repeat_source(each, call.options, call.image) for each in (call.k, call.v))
        if self.guide is None:
            return call.attend(call.q, keys, values)
        self.run.require_whole_picture("source_mask and target_mask", call.options)
        height, width = call.map_size
        if call.q.shape[1] != height * width:
            raise self.run.refusal(
                "another node splits or merges the pixels before self-attention (HyperTile or TomePatchModel, for "
                "example), but source_mask and target_mask need all of them; leave out that node, or the masks."
            )
        source, target = (
            (F.adaptive_max_pool2d(mask.to(call.q), call.map_size) > 0.5).view(1, -1)
            for mask in (self.guide.source, self.guide.target)
        )
        inside, outside = (
            call.attend(call.q, keys, values, mask=_blocked_scores(call, pixels)) for pixels in (~source, source)
        )
        guided = torch.where(target[..., None], inside, outside)
        # The source attends to itself without a mask.
        is_source = torch.arange(len(call.q), device=call.q.device) % self.run.rows == 0
        return torch.where(is_source.view(-1, 1, 1), call.attend(call.q, call.k, call.v), guided)


@dataclass
class _RunningPlugAndPlay(_RunningWithSource):
    attention_fraction: float
    feature_fraction: float

    def self_attention(self, call: AttentionCall) -> Tensor | None:
        if self.run.step(call.options) >= int(self.attention_fraction * self.run.steps):
            return None
        self.run.require_every_pixel(call.q, call.k, call.map_size)
        queries = self._repeat_source(call.q, call.options)
        return call.attend(queries, self._repeat_source(call.k, call.options, call.image), call.v)

    def features(self, out: Tensor, passed: Tensor, options: Options) -> Tensor:
        """In every row, the block adds what it adds in the source to what it passes through in that row."""
        if self.run.step(options) >= int(self.feature_fraction * self.run.steps):
            return out
        self.run.require_every_row(out, options)
        return self._repeat_source(out, options) + (passed - self._repeat_source(passed, options))


def _blocked_scores(call: AttentionCall, pixels: Tensor) -> Tensor:
    """The mask [1, queries, keys] that blocks attention to the pixels, bool [1, pixels]."""
    scores = call.q.new_zeros(1, call.k.shape[1])
    scores[:, call.image] = torch.where(pixels, CLOSED, 0.0).to(call.q)
    return scores[:, None].expand(1, call.q.shape[1], -1)
