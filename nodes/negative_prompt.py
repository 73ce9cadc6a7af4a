"""Negative-prompt inversion: what stands in place of the negative."""

from __future__ import annotations

from comfy_api.latest import io

from ..host.conditioning import interpolate_conditioning
from ..host.guided import Conditioning
from .node import RetraceNode


class RetraceNegativePrompt(RetraceNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RetraceNegativePrompt",
            display_name="Negative Prompt (Retrace)",
            category="Retrace/Edit",
            description="Negative-prompt inversion: uses the source prompt as the negative, so that guidance "
            "amplifies only what sets the new prompt apart. Reconstructs as well as at cfg 1, at no "
            "extra cost.",
            search_aliases=["npi", "negative prompt inversion", "interpolate conditioning", "slerp"],
            inputs=[
                io.Conditioning.Input("source", tooltip="The prompt that the image was inverted with."),
                io.Conditioning.Input("empty", tooltip="The plain negative, usually the empty prompt."),
                io.Float.Input(
                    "interpolation",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="0 is the source prompt (reconstructs as well as at cfg 1), 1 the plain negative.",
                ),
            ],
            outputs=[io.Conditioning.Output("negative", tooltip="For the negative input of any sampler.")],
        )

    @classmethod
    def execute(cls, source: Conditioning, empty: Conditioning, interpolation: float) -> io.NodeOutput:
        return io.NodeOutput(interpolate_conditioning(source, empty, interpolation))
