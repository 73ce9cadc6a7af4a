"""Refuse additions to a model or CONDITIONING that only work while the noise level falls."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from comfy.hooks import HookGroup

from .guided import Guidance


def require_ascending(guidance: Guidance) -> None:
    """Raise ValueError, naming the input, for anything that fails in a run whose noise level rises.

    EasyCache and LazyCache compare each step with the level above it. Keyframes only advance as the level falls, so a rising run
    would get the last keyframe at every level; a constant strength is fine.
    """
    cache = guidance.model.model_options["transformer_options"].get("easycache")
    if cache is not None:
        raise ValueError(
            f"the model has {cache.name}, which skips network evaluations that an inversion needs; connect the model from "
            f"before {cache.name}."
        )
    used = {"positive": guidance.positive} | ({"negative": guidance.negative} if guidance.cfg != 1 else {})
    for name, conditioning in used.items():
        for _, settings in conditioning:
            _refuse_keyframes(name, settings)


def _refuse_keyframes(name: str, settings: dict[str, Any]) -> None:
    controls = list(_chain(settings.get("control")))
    groups: list[HookGroup | None] = [settings.get("hooks"), *(control.extra_hooks for control in controls)]
    hooks = [hook for group in groups if group is not None for hook in group.hooks]
    if any(len({frame.strength for frame in hook.hook_keyframe.keyframes}) > 1 for hook in hooks):
        raise ValueError(
            f"{name} has hooks with keyframes, which advance only while the noise falls, but an inversion adds noise; "
            "invert without Set Hook Keyframes, or with one strength for the whole run."
        )
    # Advanced-ControlNet's: its groups hold one keyframe, the default, where the user gives none.
    if any(
        len(control.timestep_keyframes.keyframes) > 1 for control in controls if hasattr(control, "timestep_keyframes")
    ):
        raise ValueError(
            f"{name} has a ControlNet with timestep keyframes, which advance only while the noise falls, but an inversion "
            "adds noise; invert without the keyframes."
        )


def _chain(control: Any) -> Iterator[Any]:  # noqa: ANN401  (core's ControlBase, or another pack's form of it)
    while control is not None:
        yield control
        control = control.previous_controlnet
