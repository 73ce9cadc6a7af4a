"""ComfyUI's CONDITIONING: lists of [embedding [B, T, D], {everything else}], never changed in place."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ..inversion.negative_prompt import interpolate_embeddings
from .guided import Conditioning

POOLED = "pooled_output"


def only_entry(conditioning: Conditioning, name: str) -> tuple[Tensor, dict[str, Any]]:
    """The embedding and the settings of a CONDITIONING of one part. Raises ValueError for several, naming the input."""
    if len(conditioning) != 1:
        raise ValueError(
            f"{name} has {len(conditioning)} parts (areas, schedules or combined prompts); give the one prompt of a "
            "CLIP Text Encode."
        )
    embedding, settings = conditioning[0]
    return embedding, settings


def interpolate_conditioning(source: Conditioning, empty: Conditioning, amount: float) -> Conditioning:
    """The source prompt (amount 0) to the empty one (1), embedding and pooled embedding alike; settings are the source's."""
    embedding, settings = only_entry(source, "source")
    other, others = only_entry(empty, "empty")
    mixed = {**settings}
    if settings.get(POOLED) is not None and others.get(POOLED) is not None:
        mixed[POOLED] = interpolate_embeddings(settings[POOLED], others[POOLED], amount)
    return [[interpolate_embeddings(embedding, other, amount), mixed]]


def stack_rows(conditionings: list[Conditioning], names: list[str]) -> Conditioning:
    """One CONDITIONING whose rows are the given ones, in order; settings are the first's, pooled embeddings are stacked.

    Prompts of different length are repeated to a common one, which attention does not notice.
    """
    entries = [only_entry(conditioning, name) for conditioning, name in zip(conditionings, names, strict=True)]
    length = math.lcm(*(embedding.shape[1] for embedding, _ in entries))
    rows = torch.cat([embedding.repeat(1, length // embedding.shape[1], 1) for embedding, _ in entries])
    settings = {**entries[0][1]}
    if all(entry.get(POOLED) is not None for _, entry in entries):
        settings[POOLED] = torch.cat([entry[POOLED] for _, entry in entries])
    return [[rows, settings]]
