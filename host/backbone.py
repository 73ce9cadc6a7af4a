"""What an attention edit may know about a network: layers, image and text tokens, prompts, and how to install an edit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from comfy.model_patcher import ModelPatcher
from comfy.sd import CLIP
from torch import Tensor

from ..attention.words import PromptTokens
from .sampling_run import Options, SamplingRun

AttendsTo = Literal["image", "text"]
QUARTER = 2
"""The resolution of SD1.x's 16 x 16 maps at 512 x 512: the latent's side halved twice."""


@dataclass(frozen=True)
class Layer:
    """A layer with attention.

    Attributes:
        index: its position in execution order, from 0.
        resolution: how often the latent's side was halved before it; 0 is the latent's own size.
    """

    index: int
    resolution: int


class Attend(Protocol):
    """Attention as the network computes it; `mask` [rows, queries, keys] is added to the scores."""

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, *, mask: Tensor | None = None) -> Tensor: ...


@dataclass(frozen=True)
class AttentionCall:
    """One evaluation of the attention of a layer's image tokens.

    Attributes:
        layer: the layer.
        q: queries of the image tokens, [rows * tiles, pixels, heads * dim]; there are tiles if another node splits them.
        k, v: keys and values, [rows, tokens, heads * dim].
        image, text: which keys are image tokens and which are text tokens; empty if the call has none.
        heads: number of heads.
        map_size: height and width of the layer's map.
        attend: the network's own attention.
        options: ComfyUI's transformer_options.
    """

    layer: Layer
    q: Tensor
    k: Tensor
    v: Tensor
    image: slice
    text: slice
    heads: int
    map_size: tuple[int, int]
    attend: Attend
    options: Options

    def text_probabilities(self, row: int, count: int | None = None) -> Tensor:
        """The attention of a row's pixels to its first `count` text tokens: float32 [heads, pixels, count].

        Later text tokens are excluded from the softmax.
        """
        text = self.k[row, self.text][:count]
        queries = self._split_heads(self.q[row]).float()
        keys = self._split_heads(torch.cat([text, self.k[row, self.image]])).float()
        scores = queries @ keys.transpose(1, 2) * queries.shape[-1] ** -0.5
        return scores.softmax(-1)[..., : len(text)]

    def weighted_text_values(self, row: int, weights: Tensor) -> Tensor:
        """The sum of a row's first K text values under weights [heads, pixels, K]: float32 [pixels, heads * dim]."""
        values = self._split_heads(self.v[row, self.text][: weights.shape[-1]]).float()
        return (weights @ values).movedim(0, 1).flatten(1)

    def _split_heads(self, row: Tensor) -> Tensor:
        """[tokens, heads * dim] as [heads, tokens, dim]."""
        return row.unflatten(-1, (self.heads, -1)).movedim(1, 0)


Edit = Callable[[AttentionCall], "Tensor | None"]
"""The edited result of a call, of the shape of `q`, or None where the edit does not act."""

FeatureEdit = Callable[[Tensor, Tensor, Options], Tensor]
"""(a block's output, the part of it that only passes through, both [rows, C, H, W]; options) -> the output to go on with."""


@dataclass(frozen=True)
class LayerEdit:
    """An edit of a layer's attention to the image tokens or to the text tokens, which one network call may combine."""

    layer: Layer
    attends_to: AttendsTo
    edit: Edit


class RunningEdit(Protocol):
    """The state of an edit while a sampler runs."""

    def begin(self, run: SamplingRun, positive: Sequence[dict[str, Any]]) -> None:
        """Called before a run: clears the last run, and raises ValueError for a batch or conditioning that does not fit."""
        ...

    def end(self) -> None:
        """Called after a run, successful or not: releases the edit's tensors."""
        ...


class Backbone(Protocol):
    """A network whose attention can be edited, and its text encoders."""

    @property
    def layers(self) -> tuple[Layer, ...]:
        """All layers with attention, in execution order."""
        ...

    @property
    def structure_layers(self) -> tuple[Layer, ...]:
        """The layers whose attention Plug and Play replaces; features are replaced in the block before the first of them."""
        ...

    def prompt_tokens(self, clip: CLIP, text: str) -> PromptTokens:
        """The tokens of a prompt and their rows in its conditioning. Raises ValueError for another network's text encoder."""
        ...

    def encode_rows(self, clip: CLIP, texts: Sequence[str]) -> list[list[Any]]:
        """One CONDITIONING whose rows are the texts. Raises ValueError for a CLIP that returns several conditionings per text."""
        ...

    def install(
        self, model: ModelPatcher, node: str | None, running: RunningEdit, edits: Sequence[LayerEdit]
    ) -> ModelPatcher:
        """A clone of the model whose attention is edited in every run, on top of whatever other nodes have replaced by then.

        `node`: see `SamplingRun`.
        """
        ...

    def replace_features(self, model: ModelPatcher, edit: FeatureEdit) -> None:
        """Edit the features of the block before the first of `structure_layers`; modifies the model in place.

        Raises ValueError if another node already replaces them.
        """
        ...


def nearest_resolution(layers: Sequence[Layer], wanted: int = QUARTER) -> int:
    """The layer resolution nearest to `wanted`; on a tie, the one with larger maps."""
    return min({layer.resolution for layer in layers}, key=lambda resolution: (abs(resolution - wanted), resolution))
