"""Edits of self-attention for batch rows [source, target, ...]: MasaCtrl and plug-and-play."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from comfy.ldm.modules.diffusionmodules.openaimodel import ResBlock
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ..attention.rows import from_the_source
from .attention import (
    Layer,
    attention_layers,
    install,
    map_size,
    nearest_level,
    plain_attention,
)
from .sampling_run import Options, SamplingRun

CLOSED = -1e4
"""Added to a score, in any dtype, where attention must not go; finite, so that a mask that closes everything gives no NaN."""


@dataclass(frozen=True)
class MaskGuide:
    """Where the object is, [1, 1, H, W] in 0..1: in the source, and in the targets."""

    source: Tensor
    target: Tensor


def patch_masactrl(
    model: ModelPatcher, start_step: int, start_layer: float, guide: MaskGuide | None, node: str
) -> ModelPatcher:
    """Mutual self-attention (Cao et al. 2023, MasaCtrl, arXiv 2304.08465, eq. 4; with a guide eq. 6 and 7).

    From `start_step` on, the targets' queries ask the source's keys and values, in the layers behind the part `start_layer` of
    all of them; under the positive and under the negative prompt alike.

    Raises ValueError for a model without UNet cross-attention.
    """
    layers = attention_layers(model)
    running = _RunningMasaCtrl(start_step, guide)
    chosen = layers[int(start_layer * len(layers)) :]
    return install(model, node, running, [("attn1", layer, running.mutual) for layer in chosen])


def patch_plug_and_play(
    model: ModelPatcher, attention_fraction: float, feature_fraction: float, node: str
) -> ModelPatcher:
    """Plug-and-play (Tumanyan et al. 2022, arXiv 2211.12572, section 4): features and self-attention of the source.

    In the first parts of the steps the targets get what the decoder's second residual block at a quarter of the latent adds in
    the source (SD1.x's output block 4, the paper's layer 4), and the source's queries and keys from that block on.

    Raises ValueError for a model without UNet cross-attention.
    """
    layers = attention_layers(model)
    decoder = [layer for layer in layers if layer.block == "output"]
    blocks = sorted({layer.number for layer in decoder if layer.level == nearest_level(decoder)})
    running = _RunningPlugAndPlay(attention_fraction, feature_fraction, blocks[:2][-1])
    chosen = [layer for layer in decoder if layer.number >= running.block and attention_fraction > 0]
    patched = install(model, node, running, [("attn1", layer, running.itself) for layer in chosen])
    if feature_fraction > 0:
        others = patched.model_options["transformer_options"].get("patches", {}).get("forward_timestep_embed_patch", [])
        if any(issubclass(ResBlock, kind) for kind, _ in others):
            raise ValueError(
                "another node before it already replaces the UNet's residual blocks, and ComfyUI asks only the first; "
                "leave out that node, or set feature_fraction to 0."
            )
        patched.set_model_forward_timestep_embed_patch((ResBlock, running.features))
    return patched


@dataclass
class _RunningWithSource:
    """What every edit here knows while it runs: the source is the first row of the batch."""

    run: SamplingRun = field(init=False)

    def begin(self, run: SamplingRun, positive: Sequence[dict[str, Any]]) -> None:
        if run.rows < 2:
            raise run.refusal(
                "the latent batch has one row, but it takes the source in the first row and a target in "
                "each further one; repeat the latent (RepeatLatentBatch) and give a conditioning with as many rows."
            )
        self.run = run

    def end(self) -> None:
        pass

    def _from_the_source(self, tensor: Tensor, options: Options) -> Tensor:
        """Under every prompt alike."""
        prompts = len(options["cond_or_uncond"])
        return from_the_source(tensor, self.run.rows, range(prompts), prompts)


@dataclass
class _RunningMasaCtrl(_RunningWithSource):
    start_step: int
    guide: MaskGuide | None

    def begin(self, run: SamplingRun, positive: Sequence[dict[str, Any]]) -> None:
        super().begin(run, positive)
        if self.guide is not None and run.in_parts:
            raise run.refusal(
                "a conditioning has an area, but source_mask and target_mask are those of the whole "
                "picture; leave out Conditioning (Set Area) and the mask bounds of Conditioning (Set Mask), or the masks."
            )

    def mutual(self, layer: Layer, q: Tensor, k: Tensor, v: Tensor, options: Options) -> Tensor | None:
        if self.run.step(options) < self.start_step:
            return None
        keys, values = (self._from_the_source(each, options) for each in (k, v))
        if self.guide is None:
            return plain_attention(q, keys, values, options)
        self.run.require_whole_picture("source_mask and target_mask", options)
        size = map_size(options)
        if q.shape[1] != size[0] * size[1]:
            raise self.run.refusal(
                "another node splits or merges the pixels before self-attention (HyperTile or TomePatchModel, for "
                "example), but source_mask and target_mask need all of them; leave out that node, or the masks."
            )
        source, target = (
            (F.adaptive_max_pool2d(mask.to(q), size) > 0.5).view(1, -1)
            for mask in (self.guide.source, self.guide.target)
        )
        inside, outside = (
            plain_attention(q, keys, values, options, _scores(keys_open, q)) for keys_open in (source, ~source)
        )
        guided = torch.where(target[..., None], inside, outside)
        # The source itself attends to all of itself.
        is_source = torch.arange(len(q), device=q.device) % self.run.rows == 0
        return torch.where(is_source.view(-1, 1, 1), plain_attention(q, k, v, options), guided)


@dataclass
class _RunningPlugAndPlay(_RunningWithSource):
    attention_fraction: float
    feature_fraction: float
    block: int

    def itself(self, layer: Layer, q: Tensor, k: Tensor, v: Tensor, options: Options) -> Tensor | None:
        if self.run.step(options) >= int(self.attention_fraction * self.run.steps):
            return None
        self.run.require_every_query(q, k, options)
        q, k = (self._from_the_source(each, options) for each in (q, k))
        return plain_attention(q, k, v, options)

    def features(
        self, block: ResBlock, x: Tensor, emb: Tensor, context: object, options: Options, *args: object
    ) -> Tensor:
        """In place of a residual block: what it adds is the source's in every row, what it passes on stays the row's own."""
        out = block(x, emb)
        if options["block"] != ("output", self.block):
            return out
        if self.run.step(options) >= int(self.feature_fraction * self.run.steps):
            return out
        self.run.require_every_row(x, options)
        passed = block.skip_connection(x)
        return self._from_the_source(out, options) + (passed - self._from_the_source(passed, options))


def _scores(keys_open: Tensor, q: Tensor) -> Tensor:
    """What is added to the scores, [1, queries, keys], for keys [1, keys] that are open or not."""
    return torch.where(keys_open, 0.0, CLOSED).to(q)[:, None].expand(1, q.shape[1], -1)
