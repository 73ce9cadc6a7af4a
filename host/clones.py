"""Clones of a MODEL for patches of ours, which ComfyUI does not lose when a run fails."""

from __future__ import annotations

from typing import Any

from comfy.model_patcher import ModelPatcher


def own_clone(model: ModelPatcher) -> ModelPatcher:
    """A clone whose parent is the loader's own patcher.

    When a loaded patcher is garbage-collected, ComfyUI continues with its parent; if both are collected at once, it loses the
    weights. That happens to a clone of a clone when the objects of a traceback are collected; the loader's output keeps the
    first patcher alive.
    """
    clone: Any = model.clone()
    first = model
    while first.parent is not None:
        first = first.parent
    clone.parent = first
    return clone
