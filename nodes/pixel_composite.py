"""The pixels after inpainting: outside the mask, the source's own."""

from __future__ import annotations

from typing import get_args

from comfy_api.latest import io
from torch import Tensor

from ..samplers.pixel_composite import Blend, composite_pixels
from .node import RetraceNode
from .opencv import require_opencv


class RetracePixelComposite(RetraceNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RetracePixelComposite",
            display_name="Pixel Composite (Retrace)",
            category="retrace/inpainting",
            description="Restores the source's own pixels wherever the mask is black, bit for bit, and hides the "
            "seam inside the mask by fading, color matching or Poisson blending.",
            search_aliases=["composite", "paste back", "stitch", "seamless clone", "poisson", "color match", "overlay"],
            inputs=[
                io.Image.Input("source", tooltip="The original image, never encoded."),
                io.Image.Input("edited", tooltip="The inpainted image; the padding added by Blend Mask is cut off."),
                io.Mask.Input("mask", tooltip="White takes the edit, black keeps the source; any size."),
                io.Int.Input(
                    "feather",
                    default=4,
                    min=0,
                    max=256,
                    tooltip="Width in pixels over which the edit fades in, inside the mask.",
                ),
                io.Boolean.Input(
                    "match_colour",
                    default=False,
                    tooltip="Matches the edit's colors to the source, measured on the kept pixels.",
                ),
                io.Combo.Input(
                    "blend",
                    options=list(get_args(Blend)),
                    default="feather",
                    tooltip="poisson also fits the edit's gradients into the source (OpenCV, 8 bits, slower).",
                ),
            ],
            outputs=[io.Image.Output("image", tooltip="The source with the edit inside the mask.")],
        )

    @classmethod
    def execute(
        cls, source: Tensor, edited: Tensor, mask: Tensor, feather: int, match_colour: bool, blend: Blend
    ) -> io.NodeOutput:
        if blend == "poisson":
            require_opencv()
        return io.NodeOutput(composite_pixels(source, edited, mask, feather, match_colour, blend))
