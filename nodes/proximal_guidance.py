"""Proximal guidance: how positive and negative are mixed."""

from __future__ import annotations

from typing import get_args

from comfy_api.latest import io

from ..host.guidance_patches import with_proximal_guidance
from ..samplers.proximal import Shrinkage
from .inputs import model_input
from .node import RetraceNode


class RetraceProximalGuidance(RetraceNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RetraceProximalGuidance",
            display_name="Proximal Guidance (Retrace)",
            category="Retrace/Edit",
            description="Applies guidance only where the prompts really differ: small entries of the guidance "
            "direction are set to 0, so the rest of the image follows the negative.",
            search_aliases=["proxnpi", "prox", "threshold cfg", "guidance mask"],
            inputs=[
                model_input(),
                io.Combo.Input(
                    "shrinkage",
                    options=list(get_args(Shrinkage)),
                    default="soft",
                    tooltip="soft also reduces the remaining entries by the threshold; hard leaves them as they are.",
                ),
                io.Float.Input(
                    "quantile",
                    default=0.7,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Fraction of the guidance direction that is dropped.",
                ),
            ],
            outputs=[
                io.Model.Output("model", tooltip="The model with this guidance, for any sampler with cfg above 1.")
            ],
        )

    @classmethod
    def execute(cls, model: io.Model.Type, shrinkage: Shrinkage, quantile: float) -> io.NodeOutput:
        return io.NodeOutput(with_proximal_guidance(model, quantile, shrinkage))
