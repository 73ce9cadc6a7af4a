"""Samplers: DDIM as a SAMPLER for any guider."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..host.ddim import ddim_sampler
from ..samplers.ddim import DenoisedRange
from .inputs import eta_input
from .node import RetraceNode


class RetraceSamplerDDIM(RetraceNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RetraceSamplerDDIM",
            display_name="Sampler DDIM (Retrace)",
            category="Retrace/Advanced",
            description="DDIM with eta, clipping and dynamic thresholding of the predicted image, for "
            "SamplerCustomAdvanced and every node that takes a SAMPLER.",
            search_aliases=["ddim", "eta", "clip sample", "dynamic thresholding"],
            inputs=[
                eta_input(),
                io.DynamicCombo.Input(
                    "limit",
                    options=[
                        io.DynamicCombo.Option("none", []),
                        io.DynamicCombo.Option(
                            "clip",
                            [
                                io.Float.Input(
                                    "range",
                                    default=1.0,
                                    min=0.01,
                                    max=100.0,
                                    step=0.01,
                                    tooltip="Clamps the predicted clean latent to plus and minus this value.",
                                )
                            ],
                        ),
                        io.DynamicCombo.Option(
                            "dynamic threshold",
                            [
                                io.Float.Input(
                                    "ratio",
                                    default=0.995,
                                    min=0.5,
                                    max=1.0,
                                    step=0.001,
                                    tooltip="Fraction of the values that stay below the threshold.",
                                ),
                                io.Float.Input(
                                    "maximum",
                                    default=1.0,
                                    min=1.0,
                                    max=100.0,
                                    step=0.1,
                                    tooltip="Upper bound of the threshold.",
                                ),
                            ],
                        ),
                    ],
                    tooltip="Keeps the predicted clean latent in range. Designed for pixel-space models; use none "
                    "for Stable Diffusion's latents.",
                ),
                io.Boolean.Input(
                    "recompute_eps",
                    default=False,
                    advanced=True,
                    tooltip="Also recomputes the noise direction from the limited prediction.",
                ),
            ],
            outputs=[io.Sampler.Output("sampler", tooltip="For SamplerCustomAdvanced.")],
        )

    @classmethod
    def execute(cls, eta: float, limit: dict[str, Any], recompute_eps: bool) -> io.NodeOutput:
        denoised_range = DenoisedRange(
            clip=limit.get("range"),
            quantile=limit.get("ratio"),
            quantile_max=limit.get("maximum", 1.0),
            recompute_eps=recompute_eps,
        )
        return io.NodeOutput(ddim_sampler(eta, denoised_range, node=cls.title()))
