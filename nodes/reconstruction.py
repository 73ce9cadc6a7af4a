"""Reconstruction under guidance without optimisation: what stands in the negative's place, and how guidance is mixed."""

from __future__ import annotations

from typing import get_args

from comfy_api.latest import io

from ..host.conditioning import interpolate_conditioning
from ..host.guidance_patches import with_proximal_guidance
from ..host.guided import Conditioning
from ..samplers.proximal import Shrinkage
from .node import RetraceNode
from .types import model_input


class RetraceNegativePrompt(RetraceNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RetraceNegativePrompt",
            display_name="Negative Prompt (Retrace)",
            category="retrace/reconstruction",
            description="Negative-prompt inversion: the source prompt as the negative, so that guidance only adds what the "
            "new prompt has and the source prompt has not. Rebuilds as well as cfg 1 does, at no cost.",
            search_aliases=["npi", "negative prompt inversion", "interpolate conditioning", "slerp"],
            inputs=[
                io.Conditioning.Input("source", tooltip="The prompt that the image was inverted under."),
                io.Conditioning.Input("empty", tooltip="The plain negative, usually the empty prompt."),
                io.Float.Input(
                    "interpolation",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="0 is the source prompt (rebuilds as well as cfg 1 does), 1 the plain negative.",
                ),
            ],
            outputs=[io.Conditioning.Output("negative", tooltip="For the negative input of any sampler.")],
        )

    @classmethod
    def execute(cls, source: Conditioning, empty: Conditioning, interpolation: float) -> io.NodeOutput:
        return io.NodeOutput(interpolate_conditioning(source, empty, interpolation))


class RetraceProximalGuidance(RetraceNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RetraceProximalGuidance",
            display_name="Proximal Guidance (Retrace)",
            category="retrace/reconstruction",
            description="Guides only where the prompts really differ: small entries of the guidance direction become 0, so "
            "that the rest of the image follows the negative's path.",
            search_aliases=["proxnpi", "prox", "threshold cfg", "guidance mask"],
            inputs=[
                model_input(),
                io.Combo.Input(
                    "shrinkage",
                    options=list(get_args(Shrinkage)),
                    default="soft",
                    tooltip="soft also lessens what is left by the threshold; hard leaves it as it is.",
                ),
                io.Float.Input(
                    "quantile",
                    default=0.7,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="The share of the guidance direction that is dropped.",
                ),
            ],
            outputs=[
                io.Model.Output("model", tooltip="The model with this guidance, for any sampler with cfg above 1.")
            ],
        )

    @classmethod
    def execute(cls, model: io.Model.Type, shrinkage: Shrinkage, quantile: float) -> io.NodeOutput:
        return io.NodeOutput(with_proximal_guidance(model, quantile, shrinkage))


NODES: list[type[io.ComfyNode]] = [RetraceNegativePrompt, RetraceProximalGuidance]
