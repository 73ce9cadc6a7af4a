"""The negative on the way back: a trajectory's null embeddings as CONDITIONING for any sampler, and which negative to use."""

from __future__ import annotations

import logging

import torch

from ..inversion.trajectory import Trajectory
from .conditioning import POOLED, only_row, step_windows
from .guided import Conditioning, Guidance
from .naming import LOGGER


def resolve_negative(
    trajectory: Trajectory, positive: Conditioning, negative: Conditioning | None, cfg: float
) -> Conditioning:
    """The given negative; without one, the positive at cfg 1 (where it is not used), else the trajectory's null embeddings.

    Raises ValueError if there is no negative at all, or if the null embeddings were made with more than a prompt.
    """
    if negative is not None:
        return negative
    if cfg == 1:
        return positive
    if trajectory.null_text is not None:
        if trajectory.null_text.settings:
            raise ValueError(
                f"the trajectory's null embeddings were made with {', '.join(trajectory.null_text.settings)} on the negative, "
                "which the trajectory does not keep; connect that negative to Null Text Conditioning, and what comes out of it "
                "to negative here."
            )
        if trajectory.null_text.cfg != cfg:
            logging.getLogger(LOGGER).warning(
                "the null embeddings were made for cfg %g, this edit has cfg %g; "
                "the reconstruction will be less exact.",
                trajectory.null_text.cfg,
                cfg,
            )
        return null_text_conditioning(trajectory, None)
    raise ValueError(
        f"cfg is {cfg:g}, but there is no negative and the trajectory has no null embeddings; connect a negative, "
        "send the trajectory through Null Text Optimize, or set cfg to 1."
    )


def null_text_conditioning(trajectory: Trajectory, negative: Conditioning | None) -> Conditioning:
    """One CONDITIONING entry per step, each active only at its own level, all with the settings of `negative`.

    Raises ValueError if the trajectory has no null embeddings, and for a negative of several parts or rows.
    """
    null_text = trajectory.null_text
    if null_text is None:
        raise ValueError("the trajectory has no null embeddings; send it through Null Text Optimize first.")
    settings = {} if null_text.pooled is None else {POOLED: null_text.pooled}
    if negative is not None:
        settings |= only_row(negative, "negative")[1]
    windows = step_windows(trajectory.sigmas.flip(0), trajectory.model)
    return [
        [embedding[None], {**settings, "start_percent": start, "end_percent": end}]
        for embedding, (start, end) in zip(null_text.embeddings.flip(0), windows, strict=True)
    ]


def is_null_text_of(negative: Conditioning, trajectory: Trajectory) -> bool:
    """Whether the negative holds the trajectory's own null embeddings, step by step."""
    null_text = trajectory.null_text
    return (
        null_text is not None
        and len(negative) == trajectory.steps
        and all(
            torch.equal(entry[0][0], own) for entry, own in zip(negative, null_text.embeddings.flip(0), strict=True)
        )
    )


def walks_as_optimized(guidance: Guidance, trajectory: Trajectory) -> bool:
    """Whether the steps are those of the optimization: residuals are what these miss the trajectory by, and no others."""
    null_text = trajectory.null_text
    return null_text is not None and null_text.cfg == guidance.cfg and is_null_text_of(guidance.negative, trajectory)
