"""A sampler run as an attention edit sees it: its rows and steps, and which rows each network call contains."""

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
    """Created for each run.

    Attributes:
        node: the name of the node that made the edit, for messages, if another node runs it; else None.
        rows: number of rows of the latent batch.
        steps: number of steps.
        size: height and width of the latent.
        has_areas: whether a conditioning has an area, for which ComfyUI gives the network a crop of the latent.
        positive: ComfyUI's uuids of the positive conditioning's entries; known once the sampler starts.
    """

    node: str | None
    rows: int
    steps: int
    size: tuple[int, int]
    has_areas: bool
    positive: frozenset[uuid.UUID] = frozenset()
    _sigma: Tensor | None = field(default=None, repr=False)
    _step: int = 0

    def refusal(self, sentence: str) -> ValueError:
        """The error to raise, prefixed with the name of the node that made the edit if another node runs it."""
        return ValueError(sentence if self.node is None else f"{self.node}: {sentence}")

    def step(self, options: Options) -> int:
        """The step 0, 1, ... at which the network is evaluated; between two levels, the step of the noisier one."""
        sigma = options["sigmas"]
        if sigma is not self._sigma:
            self._sigma, self._step = sigma, step_at(options["sample_sigmas"], sigma[0])
        return self._step

    def positive_chunks(self, options: Options) -> list[int]:
        """Which of the prompts evaluated together are positive, possibly none.

        `cond_or_uncond` does not tell: a guider lists its prompts in its own order, and a prompt that is evaluated alone is
        always number 0 there.
        """
        return [chunk for chunk, entry in enumerate(options["uuids"]) if entry in self.positive]

    def require_every_row(self, batch: Tensor, options: Options) -> None:
        """Raise ValueError unless a batch [rows, ...] contains all rows of the latent under each prompt in turn."""
        prompts = len(options["cond_or_uncond"])
        if len(batch) != self.rows * prompts:
            raise self.refusal(
                f"the network is evaluated on {len(batch)} rows at once, but the latent batch has {self.rows} rows "
                f"and there are {prompts} prompts, so the source's row cannot be told from the others; another node splits "
                "the picture (TiledDiffusion, for example): leave it out, or set its tile_batch_size to 1."
            )

    def require_whole_picture(self, inputs: str, options: Options) -> None:
        """Raise ValueError if the network gets a crop of the latent; the named inputs need the whole picture."""
        size = tuple(options["original_shape"][2:])
        if size != self.size:
            raise self.refusal(
                f"the network is evaluated on crops of {size[1]} x {size[0]} of the latent's {self.size[1]} x "
                f"{self.size[0]} pixels, but {inputs} need the whole picture; leave out the node that splits it "
                f"(TiledDiffusion, for example), or {inputs}."
            )

    def require_every_pixel(self, queries: Tensor, keys: Tensor, map_size: tuple[int, int]) -> None:
        """Raise ValueError unless queries [rows * tiles, pixels, ...] cover every pixel of the keys' rows."""
        height, width = map_size
        if len(queries) * queries.shape[1] != len(keys) * height * width:
            raise self.refusal(
                "another node merges pixels before attention (TomePatchModel, for example), different ones in "
                "each row, so the source's attention does not fit a target; leave out that node."
            )


def identify_positive(conds: Mapping[str, Sequence[dict[str, Any]]]) -> frozenset[uuid.UUID]:
    """The uuids of the entries of a guider's processed positive conditioning; an entry with a shared uuid gets a new one.

    If one prompt has an area, ComfyUI gives the other prompts a copy of that entry, uuid included.
    """
    positive = conds.get("positive", [])
    others = {entry["uuid"] for name, entries in conds.items() if name != "positive" for entry in entries}
    for entry in positive:
        if entry["uuid"] in others:
            entry["uuid"] = uuid.uuid4()
    return frozenset(entry["uuid"] for entry in positive)
