"""Measuring: how close two images are."""

from __future__ import annotations

from typing import get_args

from comfy_api.latest import io, ui
from torch import Tensor

from ..host.report import report
from ..measuring.compare import Region, compare_images
from .node import RetraceNode


class RetraceCompareImages(RetraceNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RetraceCompareImages",
            display_name="Compare Images (Retrace)",
            category="Retrace/Advanced",
            description="PSNR and SSIM of two images, overall or on one side of a mask, and a heat map of their "
            "differences.",
            search_aliases=["psnr", "ssim", "difference", "heat map", "metric", "quality"],
            inputs=[
                io.Image.Input("image_a", tooltip="One image or a batch."),
                io.Image.Input("image_b", tooltip="The image to compare it with, at the same size."),
                io.Combo.Input(
                    "region",
                    options=list(get_args(Region)),
                    default="all",
                    tooltip="Measures everywhere, or only inside or outside the mask.",
                ),
                io.Float.Input(
                    "brightest_at",
                    default=0.25,
                    min=0.001,
                    max=1.0,
                    step=0.001,
                    advanced=True,
                    tooltip="The difference that the heat map shows at full brightness.",
                ),
                io.Mask.Input("mask", optional=True, tooltip="Which pixels are inside; any size."),
            ],
            outputs=[
                io.Float.Output(
                    "psnr", tooltip="Peak signal-to-noise ratio in dB, averaged over the batch; inf if identical."
                ),
                io.Float.Output("ssim", tooltip="Structural similarity, averaged over the batch; 1 if identical."),
                io.Image.Output("heat_map", tooltip="Where the images differ, dark to bright."),
            ],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls, image_a: Tensor, image_b: Tensor, region: Region, brightest_at: float, mask: Tensor | None = None
    ) -> io.NodeOutput:
        result = compare_images(image_a, image_b, mask, region, brightest_at)
        text = f"PSNR {result.mean_psnr:.2f} dB, SSIM {result.mean_ssim:.4f} ({region})"
        preview = ui.PreviewImage(result.heat_map, cls=cls)
        return io.NodeOutput(result.mean_psnr, result.mean_ssim, result.heat_map, ui=report(cls, text, preview))
