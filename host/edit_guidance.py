"""How Edit Sample guides: its prompts, with the source beside the edit, and whether its way back is aligned."""

from __future__ import annotations

from typing import Literal

from comfy.model_patcher import ModelPatcher

from ..inversion.trajectory import Trajectory
from .conditioning import stack_rows
from .embedded_guidance import with_guidance
from .guided import Conditioning, Guidance
from .negative import resolve_negative
from .roles import Source

Align = Literal["auto", "on", "off"]


def edit_guidance(
    model: ModelPatcher,
    trajectory: Trajectory,
    positive: Conditioning,
    negative: Conditioning | None,
    source: Conditioning | None,
    cfg: float,
) -> Guidance:
    """The prompts of an edit; with a `source` that prompt is of the first row.

    On a UNet the rows are evaluated together, under one cfg. On a flow the source is evaluated by itself, as it was inverted:
    at the cfg and the embedded guidance of the inversion.
    Raises ValueError for a trajectory of several images with a source, and where there is no negative to guide away from.
    """
    if source is None:
        return Guidance(model, positive, resolve_negative(trajectory, positive, negative, cfg), cfg)
    images, made = trajectory.latents.shape[1], trajectory.inversion
    if images > 1:
        raise ValueError(
            f"a source runs beside the edit of one image, but the trajectory holds {images} images; disconnect source, or "
            "invert the images one at a time."
        )
    if trajectory.model.prediction != "flow":
        positive = stack_rows([source, positive], ["source", "positive"])
        return Guidance(model, positive, resolve_negative(trajectory, positive, negative, cfg), cfg)
    if made.guidance is not None:
        source = with_guidance(source, made.guidance)
    of_source = Source(source, resolve_negative(trajectory, source, negative, made.cfg), made.cfg)
    return Guidance(model, positive, resolve_negative(trajectory, positive, negative, cfg), cfg, of_source)


def is_aligned(align: Align, trajectory: Trajectory) -> bool:
    """Whether the way back of the trajectory is aligned: by default on flows, where nothing else in the trajectory replaces it.

    Raises ValueError where it is to be on but cannot be.
    """
    can_be = trajectory.asks is not None and trajectory.null_text is None
    if align == "on" and not can_be:
        reason = (
            "its null embeddings were optimized for the way back without it"
            if trajectory.null_text is not None
            else "it is from an older version, or of a method that is exact without it"
        )
        raise ValueError(
            f"align is 'on', but the trajectory (method {trajectory.inversion.method!r}) cannot be aligned: {reason}; set align to "
            "'auto', or invert the image again with DDIM Invert or Flow Invert."
        )
    return align == "on" or (align == "auto" and can_be and trajectory.model.prediction == "flow")
