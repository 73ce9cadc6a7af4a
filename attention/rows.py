"""Rows of a batch that take something from the source row before them."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def from_the_source(tensor: Tensor, rows: int, chunks: Sequence[int]) -> Tensor:
    """A copy of tensor [chunks * rows, ...] in which, in the named chunks, every row is the chunk's first one.

    A chunk is what ComfyUI asks the network for at once under one prompt: all `rows` of the latent batch.
    """
    copy = tensor.clone()
    for chunk in chunks:
        copy[chunk * rows + 1 : (chunk + 1) * rows] = tensor[chunk * rows]
    return copy
