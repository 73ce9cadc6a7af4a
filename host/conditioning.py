"""ComfyUI's CONDITIONING: lists of [embedding [B, T, D], {everything else}], never changed in place."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..inversion.facts import ModelFacts
from ..inversion.negative_prompt import interpolate_embeddings, of_equal_length
from .guided import Conditioning

POOLED = "pooled_output"
CLIP_LENGTH = 77
"""Tokens of CLIP's prompts, and of the parts that ComfyUI cuts longer ones into."""


def only_entry(conditioning: Conditioning, name: str) -> tuple[Tensor, dict[str, Any]]:
    """The embedding and the settings of a CONDITIONING of one part. Raises ValueError for several, naming the input."""
    if len(conditioning) != 1:
        raise ValueError(
            f"{name} has {len(conditioning)} parts (areas, schedules or combined prompts); give the one prompt of a "
            "CLIP Text Encode."
        )
    embedding, settings = conditioning[0]
    return embedding, settings


def only_row(conditioning: Conditioning, name: str) -> tuple[Tensor, dict[str, Any]]:
    """`only_entry`, whose embedding is [1, T, D]. Raises ValueError for several rows, naming the input."""
    embedding, settings = only_entry(conditioning, name)
    if len(embedding) != 1:
        raise ValueError(
            f"{name} has {len(embedding)} rows (prompts of a batch, as Prompt to Prompt gives them); give the one prompt of a "
            "CLIP Text Encode."
        )
    return embedding, settings


def covers_a_part(settings: dict[str, Any]) -> bool:
    """Whether, with these settings of an entry, ComfyUI gives the network a crop of the latent instead of the whole."""
    return settings.get("area") is not None or bool(settings.get("set_area_to_bounds"))


def interpolate_conditioning(source: Conditioning, empty: Conditioning, amount: float) -> Conditioning:
    """The source prompt (amount 0) to the empty one (1), embedding and pooled embedding alike; settings are the source's.

    Raises ValueError for several parts or rows, and for amounts in between where the prompts' lengths are not CLIP's and differ.
    """
    embedding, settings = only_row(source, "source")
    other, others = only_row(empty, "empty")
    mixed = {**settings}
    if settings.get(POOLED) is not None and others.get(POOLED) is not None:
        mixed[POOLED] = interpolate_embeddings(settings[POOLED], others[POOLED], amount)
    return [[_between(embedding, other, amount), mixed]]


def _between(source: Tensor, empty: Tensor, amount: float) -> Tensor:
    """Embeddings [1, T, D] of different T are repeated to a common length on CLIP's models, whose attention does not notice; to a
    transformer that sees image and prompt together, as language models encode it, a repeated prompt is another one."""
    lengths = source.shape[1], empty.shape[1]
    if lengths[0] != lengths[1] and any(length % CLIP_LENGTH for length in lengths):
        if amount not in (0, 1):
            raise ValueError(
                f"interpolation is {amount:g}, but source has {lengths[0]} tokens and empty {lengths[1]}, between which "
                "there is no way on this text encoder; set it to 0 (the source prompt) or 1 (the plain negative)."
            )
        return (source, empty)[int(amount)]
    return interpolate_embeddings(source, empty, amount)


def stack_rows(conditionings: list[Conditioning], names: list[str]) -> Conditioning:
    """One CONDITIONING whose rows are the given ones, in order; pooled embeddings are stacked.

    Prompts of different length are repeated to a common length, which does not change the attention to them. Raises ValueError for
    settings (a ControlNet, an area, SDXL's sizes) that are not the same in all, because the rows are evaluated together.
    """
    entries = [only_entry(conditioning, name) for conditioning, name in zip(conditionings, names, strict=True)]
    for name, (_, settings) in zip(names, entries, strict=True):
        if different := _differing(settings, entries[0][1]):
            raise ValueError(
                f"{name} and {names[0]} differ in {', '.join(different)}, but they are rows of one conditioning; give both the "
                "same, or set it on a conditioning that holds both rows (Prompt to Prompt's), with nothing in source."
            )
    rows = torch.cat(of_equal_length([embedding for embedding, _ in entries]))
    settings = {**entries[0][1]}
    if all(entry.get(POOLED) is not None for _, entry in entries):
        settings[POOLED] = torch.cat([entry[POOLED] for _, entry in entries])
    return [[rows, settings]]


def _differing(settings: dict[str, Any], others: dict[str, Any]) -> list[str]:
    """The names of the settings that differ or that only one has; the pooled embedding belongs to the row."""
    names = sorted((settings.keys() | others.keys()) - {POOLED})
    return [name for name in names if not _same(settings.get(name), others.get(name))]


def _same(setting: object, other: object) -> bool:
    return setting is other or (not isinstance(setting, Tensor) and not isinstance(other, Tensor) and setting == other)


def step_windows(sigmas: Tensor, model: ModelFacts) -> list[tuple[float, float]]:
    """For each step of descending sigmas [N+1] the (start_percent, end_percent) in which ComfyUI sees its level alone.

    The bounds lie half-way between the rows of neighboring levels in the model's table. The first window is open to the noise,
    the last to the image.
    """
    rows = [int((model.sigma_table - sigma).abs().argmin()) for sigma in sigmas[:-1]]
    bounds = [model.percent_of((later + earlier) / 2) for later, earlier in zip(rows[:-1], rows[1:], strict=True)]
    return list(zip([0.0, *bounds], [*bounds, 1.0], strict=True))
