"""Seeded noise: one seed that counts up over a batch, one seed for all rows, or one seed per row."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

NoiseSource = Callable[[], Tensor]


def choose_seeds(seed: int, row_seeds: str, batch: int, same_for_every_row: bool) -> tuple[int, ...]:
    """The seeds for `noise_source`: one that counts up over the rows, the same for every row, or those in `row_seeds`.

    `row_seeds` holds integers separated by commas and takes precedence unless it is blank.
    Raises ValueError unless it is a list of non-negative integers, one per row.
    """
    if row_seeds.strip():
        words = [word.strip() for word in row_seeds.split(",")]
        if len(words) != batch or not all(word.isdecimal() and int(word) < 2**64 for word in words):
            raise ValueError(
                f"row_seeds {row_seeds!r} is not a list of {batch} whole numbers, one for each image of the "
                "batch; separate them with commas, or leave the input empty."
            )
        return tuple(int(word) for word in words)
    return (seed,) * batch if same_for_every_row else (seed,)


def noise_source(shape: Sequence[int], seeds: Sequence[int]) -> NoiseSource:
    """A function that returns standard normal noise of `shape` [B, ...] (float32, CPU), new noise at each call.

    Each row has its own generator, so its noise does not depend on the other rows. B seeds belong to the rows; a single seed
    counts up: row k uses seed + k (modulo 2**64), so the first row gets the same noise as that image alone, which is
    ComfyUI's own.

    Raises ValueError unless there are 1 or B seeds.
    """
    batch = shape[0]
    if len(seeds) not in (1, batch):
        raise ValueError(f"{len(seeds)} seeds were given for a batch of {batch}; give one seed, or one per row.")
    row_seeds = [(seeds[0] + row) % 2**64 for row in range(batch)] if len(seeds) == 1 else seeds
    generators = [torch.Generator("cpu").manual_seed(seed) for seed in row_seeds]
    return lambda: torch.stack([torch.randn(tuple(shape[1:]), generator=generator) for generator in generators])
