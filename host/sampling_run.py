"""One run of a sampler, as an edit of attention knows it: its rows and steps, and which of them a call of the network holds."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ..samplers.schedule import step_at

Options = dict[str, Any]
"""ComfyUI's transformer_options, with what an attention layer adds to them."""


@dataclass
class SamplingRun:
    """Made anew by the wrapper around each run.

    Attributes:
        node: the one that made the edit, for messages: the run may be another node's. None where it runs the edit itself.
        rows: rows of the latent batch. steps: how many steps the run has.
        size: height and width of the latent.
        in_parts: whether a conditioning has an area, for which ComfyUI gives the network a crop of the latent.
        positive: ComfyUI's uuids of the entries of the positive conditioning; known when the sampler begins.
    """

    node: str | None
    rows: int
    steps: int
    size: tuple[int, int]
    in_parts: bool
    positive: frozenset[uuid.UUID] = frozenset()
    _sigma: Tensor | None = field(default=None, repr=False)
    _step: int = 0

    def refusal(self, sentence: str) -> ValueError:
        return ValueError(sentence if self.node is None else f"{self.node}: {sentence}")

    def step(self, options: Options) -> int:
        """The step 0, 1, ... at which the network is evaluated; between two levels that of the noisier one."""
        sigma = options["sigmas"]
        if sigma is not self._sigma:
            self._sigma, self._step = sigma, step_at(options["sample_sigmas"], sigma[0])
        return self._step

    def positive_chunks(self, options: Options) -> list[int]:
        """Which of the prompts that this call of the network evaluates together are the positive one (it may be none).

        Not by ComfyUI's `cond_or_uncond`: a guider lists its prompts in an order of its own, and a prompt that is evaluated
        alone is always number 0 there.
        """
        return [chunk for chunk, name in enumerate(options["uuids"]) if name in self.positive]

    def require_every_row(self, keys: Tensor, options: Options) -> None:
        """Raise ValueError for a batch [rows, ...] that is not all rows of the latent under each prompt in turn."""
        prompts = len(options["cond_or_uncond"])
        if len(keys) != self.rows * prompts:
            raise self.refusal(
                f"the network is evaluated on {len(keys)} rows at once, but the latent batch has {self.rows} rows "
                f"and there are {prompts} prompts, so that the source's row cannot be told from the others; another node splits "
                "the picture (TiledDiffusion, for example): leave it out, or set its tile_batch_size to 1."
            )

    def require_whole_picture(self, what: str, options: Options) -> None:
        """Raise ValueError where the network is given a crop of the latent but `what` is of the whole picture."""
        size = tuple(options["original_shape"][2:])
        if size != self.size:
            raise self.refusal(
                f"the network is evaluated on crops of {size[1]} x {size[0]} of the latent's {self.size[1]} x "
                f"{self.size[0]} pixels, but {what} belong to the whole picture; leave out the node that splits it "
                f"(TiledDiffusion, for example), or {what}."
            )

    def require_every_query(self, queries: Tensor, keys: Tensor, options: Options) -> None:
        """Raise ValueError where queries [rows * tiles, tokens, ...] are fewer than the pixels of the keys' rows."""
        height, width = options["activations_shape"][2:]
        if len(queries) * queries.shape[1] != len(keys) * height * width:
            raise self.refusal(
                "another node merges pixels before attention (TomePatchModel, for example), in each row others, "
                "so that the source's attention does not fit a target; leave it out."
            )


def tell_the_positive_apart(conds: Mapping[str, Sequence[dict[str, Any]]]) -> frozenset[uuid.UUID]:
    """The uuids of the entries of a guider's processed positive conditioning, after giving new ones to those of doubt.

    Where one prompt has an area, ComfyUI gives the other prompts a copy of that entry, uuid included.
    """
    positive = conds.get("positive", [])
    others = {entry["uuid"] for kind, entries in conds.items() if kind != "positive" for entry in entries}
    for entry in positive:
        if entry["uuid"] in others:
            entry["uuid"] = uuid.uuid4()
    return frozenset(entry["uuid"] for entry in positive)
