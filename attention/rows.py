"""Replace rows of a batch by the source's, the first row."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def repeat_source(tensor: Tensor, rows: int, chunks: Sequence[int], count: int, tokens: slice = slice(None)) -> Tensor:
    """Copy tensor [count * rows * tiles, tokens, ...], replacing each row of the given chunks by the chunk's first row.

    A chunk is what the network evaluates under one prompt: all `rows` of the latent batch, each of which may be split into
    consecutive tiles; `count` is the number of chunks. Only the given tokens are replaced.
    """
    copy = tensor.unflatten(0, (count, rows, -1)).clone()
    for chunk in chunks:
        copy[chunk, 1:, :, tokens] = copy[chunk, 0, :, tokens]
    return copy.flatten(0, 2)
