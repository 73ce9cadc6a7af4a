"""Seeded noise: one seed from which a batch counts up, one seed repeated for every row, or one seed a row."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

NoiseSource = Callable[[], Tensor]


def choose_seeds(seed: int, row_seeds: str, batch: int, same_for_every_row: bool) -> tuple[int, ...]:
    """The seeds for `noise_source`: one from which the rows count up, the same for every row, or those written in `row_seeds`.

    `row_seeds` holds integers separated by commas and wins when it is not blank.
    Raises ValueError when it is not a list of non-negative integers, one for each row.
    """
    if row_seeds.strip():
        words = [word.strip() for word in row_seeds.split(",")]
        if len(words) != batch or not all(word.isdecimal() and int(word) < 2**64 for word in words):
            raise ValueError(
                f"row_seeds {row_seeds!r} is not a list of {batch} whole numbers, one for each image of the "
                "batch; write them separated by commas, or leave it empty."
            )
        return tuple(int(word) for word in words)
    return (seed,) * batch if same_for_every_row else (seed,)


def noise_source(shape: Sequence[int], seeds: Sequence[int]) -> NoiseSource:
    """A function that draws standard normal noise of `shape` [B, ...] (float32, CPU) each time it is called.

    Each row has its own generator, so that it does not depend on its neighbors: B seeds are those of the rows; from one seed
    they count up, row k having seed + k (modulo 2**64), so that the first row is the noise of that image alone, which is
    ComfyUI's own. The draws of one source differ from call to call.
    Raises ValueError when there are neither 1 nor B seeds.
    """
    batch = shape[0]
    if len(seeds) not in (1, batch):
        raise ValueError(f"{len(seeds)} seeds were given for a batch of {batch}; give one seed, or one for each row.")
    row_seeds = [(seeds[0] + row) % 2**64 for row in range(batch)] if len(seeds) == 1 else seeds
    generators = [torch.Generator("cpu").manual_seed(seed) for seed in row_seeds]
    return lambda: torch.stack([torch.randn(tuple(shape[1:]), generator=generator) for generator in generators])
