"""MODEL patches of guidance. Each adds one of ComfyUI's pre-cfg functions, so several can be combined."""

from __future__ import annotations

from typing import Any

from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ..samplers.proximal import Shrinkage, shrink
from .clones import own_clone


def with_proximal_guidance(model: ModelPatcher, quantile: float, shrinkage: Shrinkage) -> ModelPatcher:
    """A clone of the model whose guidance direction is shrunk, see `samplers.proximal`."""

    def shrink_guidance(arguments: dict[str, Any]) -> list[Tensor]:
        text, null, *others = arguments["conds_out"]
        if arguments["conds"][1] is None:
            return arguments["conds_out"]
        return [null + shrink(text - null, quantile, shrinkage), null, *others]

    patched = own_clone(model)
    patched.set_model_sampler_pre_cfg_function(shrink_guidance)
    return patched


class GuidanceDirection:
    """Keeps the latest difference between the x0 of prompt and negative in a run, for hooks that modify x after the step."""

    def __init__(self) -> None:
        self.difference: Tensor | None = None

    def watch(self, model: ModelPatcher) -> None:
        """Listen to the model, which is modified in place."""
        model.set_model_sampler_pre_cfg_function(self._keep)

    def _keep(self, arguments: dict[str, Any]) -> list[Tensor]:
        text, null, *_ = arguments["conds_out"]
        self.difference = None if arguments["conds"][1] is None else text - null
        return arguments["conds_out"]
