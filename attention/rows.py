"""Rows of a batch that take something from the source row before them."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def from_the_source(tensor: Tensor, rows: int, chunks: Sequence[int], count: int) -> Tensor:
    """A copy of tensor [count * rows * tiles, ...] in which, in the named chunks, every row is the chunk's first one.

    A chunk is what the network is evaluated on under one prompt: all `rows` of the latent batch, each of which may be cut into
    tiles that follow one another; `count` is the number of chunks.
    """
    copy = tensor.unflatten(0, (count, rows, -1)).clone()
    for chunk in chunks:
        copy[chunk, 1:] = copy[chunk, 0]
    return copy.flatten(0, 2)
