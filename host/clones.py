"""Clones of a MODEL for patches of ours, which ComfyUI does not lose when a run fails."""

from __future__ import annotations

from typing import Any

from comfy.model_patcher import ModelPatcher


def own_clone(model: ModelPatcher) -> ModelPatcher:
    """A clone whose parent is the patcher that the loader made.

    ComfyUI goes on with the parent of a loaded patcher that dies, and loses the weights if both die in one garbage
    collection. That happens to a clone of a clone when what a traceback held is collected; the loader's output
    holds the first patcher.
    """
    clone: Any = model.clone()
    first = model
    while first.parent is not None:
        first = first.parent
    clone.parent = first
    return clone
