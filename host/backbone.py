"""What an edit of attention may know of a network: layers, image and text tokens, prompts, and how an edit is installed."""

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
    """One layer with attention.

    Attributes:
        index: its position in the order in which the layers run, from 0.
        resolution: how many times the latent's side was halved before it; 0 is the latent's own size.
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
        q: the queries of the image tokens, [rows * tiles, pixels, heads * dim]; tiles where another node cuts them.
        k, v: keys and values, [rows, tokens, heads * dim].
        image, text: which of the keys are image tokens and which are text tokens; empty where the call has none of them.
        heads: the number of heads.
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

        The text tokens after those are left out of the softmax.
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
    """An edit of a layer's attention to the image's tokens or to the text's, be they one call of the network or two."""

    layer: Layer
    attends_to: AttendsTo
    edit: Edit


class RunningEdit(Protocol):
    """The state of an edit while a sampler runs."""

    def begin(self, run: SamplingRun, positive: Sequence[dict[str, Any]]) -> None:
        """Called before a run: refuses a batch or a conditioning that does not fit, by ValueError, and clears the last run."""
        ...

    def end(self) -> None:
        """Called after a run, whether it succeeded or failed: releases its tensors."""
        ...


class Backbone(Protocol):
    """A network whose attention can be edited, with the text encoders that belong to it."""

    @property
    def layers(self) -> tuple[Layer, ...]:
        """All layers with attention, in the order in which they run."""
        ...

    @property
    def structure_layers(self) -> tuple[Layer, ...]:
        """The layers whose attention Plug and Play replaces; it replaces the features of the block before the first of them."""
        ...

    def prompt_tokens(self, clip: CLIP, text: str) -> PromptTokens:
        """The tokens of a prompt and their rows in its conditioning. Raises ValueError for another network's text encoder."""
        ...

    def encode_rows(self, clip: CLIP, texts: Sequence[str]) -> list[list[Any]]:
        """One CONDITIONING whose rows are the texts. Raises ValueError for a CLIP that gives several conditionings a text."""
        ...

    def install(
        self, model: ModelPatcher, node: str | None, running: RunningEdit, edits: Sequence[LayerEdit]
    ) -> ModelPatcher:
        """A clone of the model whose attention is edited in every run, over whatever other nodes replaced by then.

        `node`: see `SamplingRun`.
        """
        ...

    def replace_features(self, model: ModelPatcher, edit: FeatureEdit) -> None:
        """Edit the features of the block before the first of `structure_layers`; the model is changed in place.

        Raises ValueError where another node already replaces them.
        """
        ...


def nearest_resolution(layers: Sequence[Layer], wanted: int = QUARTER) -> int:
    """The layers' resolution nearest to the wanted one; of two equally near, the one with larger maps."""
    return min({layer.resolution for layer in layers}, key=lambda resolution: (abs(resolution - wanted), resolution))
