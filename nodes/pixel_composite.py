"""The pixels after inpainting: outside the mask, the source's own."""

from __future__ import annotations

from typing import Any, get_args

from comfy_api.latest import io
from torch import Tensor

from ..host.report import report
from ..samplers.pixel_composite import Blend, composite_pixels
from ..samplers.region_composite import KeptTexture, composite_region
from ..samplers.working_region import Region
from .node import RetraceNode
from .opencv import require_opencv


class RetracePixelComposite(RetraceNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RetracePixelComposite",
            display_name="Pixel Composite (Retrace)",
            category="Retrace/Inpaint",
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
                io.BoundingBox.Input(
                    "region",
                    optional=True,
                    socketless=False,
                    force_input=True,
                    tooltip="The part of the source that was edited, from Working Crop. Edit and mask cover this part and "
                    "are resized to it.",
                ),
                io.Image.Input(
                    "round_trip",
                    optional=True,
                    tooltip="The same picture without the edit, encoded and decoded at the edit's size. The difference that "
                    "the edit made is then added to the source: keeps the source's texture.",
                ),
                io.Combo.Input(
                    "kept_texture",
                    options=list(get_args(KeptTexture)),
                    default="everywhere",
                    optional=True,
                    advanced=True,
                    tooltip="With a round trip: keep the source's texture everywhere (changes of color or light); keep its edges "
                    "too, to which the change is fitted; or keep it only around what the edit replaced (new things).",
                ),
            ],
            hidden=[io.Hidden.unique_id],
            outputs=[
                io.Image.Output("image", tooltip="The source with the edit inside the mask."),
                io.Mask.Output(
                    "mask",
                    tooltip="How much of the edit each pixel took; 0 where the image is the source, bit for bit.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        source: Tensor,
        edited: Tensor,
        mask: Tensor,
        feather: int,
        match_colour: bool,
        blend: Blend,
        region: dict[str, Any] | None = None,
        round_trip: Tensor | None = None,
        kept_texture: KeptTexture = "everywhere",
    ) -> io.NodeOutput:
        if blend == "poisson":
            require_opencv()
        if region is None and round_trip is None:
            composited = composite_pixels(source, edited, mask, feather, match_colour, blend)
        else:
            height, width = source.shape[1:3]
            part = Region(0, 0, width, height) if region is None else Region.of(region, source)
            composited = composite_region(
                source, edited, mask, feather, match_colour, blend, part, round_trip, kept_texture
            )
        if bool(composited.weight.any()):
            return io.NodeOutput(composited.picture, composited.weight)
        text = "nothing is taken from the edit, because the mask is empty: the image is the source"
        return io.NodeOutput(composited.picture, composited.weight, ui=report(cls, text))
