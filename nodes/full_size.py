"""Large photos: what is edited at the model's size, and where the edit changed it."""

from __future__ import annotations

from dataclasses import asdict

from comfy_api.latest import io
from torch import Tensor

from ..samplers.blend_mask import LATENT_SCALE, checked_mask, require_painted
from ..samplers.changed_region import changed_region
from ..samplers.working_region import Region, region_around, resized, working_size
from .node import RetraceNode


class RetraceWorkingCrop(RetraceNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RetraceWorkingCrop",
            display_name="Working Crop (Retrace)",
            category="Retrace/Inpaint",
            description="Brings a photo to the model's size and keeps its aspect. With a small mask it cuts out the part "
            "around it, so that the edit happens at full resolution. Pixel Composite puts the edit back.",
            search_aliases=["resize to model", "crop and stitch", "inpaint crop", "multiple of 8", "full resolution"],
            inputs=[
                io.Image.Input("image", tooltip="The photo, of any size."),
                io.Int.Input(
                    "side",
                    default=512,
                    min=64,
                    max=4096,
                    step=8,
                    tooltip="The working size is about side x side pixels in the photo's aspect, in multiples of 8: 512 for "
                    "SD1.x, 768 for SD2.x, 1024 for SDXL.",
                ),
                io.Float.Input(
                    "context",
                    default=0.5,
                    min=0.0,
                    max=4.0,
                    step=0.05,
                    tooltip="How much is kept around the mask, as a multiple of the masked area's longer side.",
                ),
                io.Mask.Input("mask", optional=True, tooltip="Where the photo may change; of the photo's size."),
                io.Int.Input(
                    "multiple",
                    default=LATENT_SCALE,
                    min=LATENT_SCALE,
                    max=64,
                    step=LATENT_SCALE,
                    optional=True,
                    advanced=True,
                    tooltip="Both sides of the working size are multiples of this: 8 for most VAEs, 16 for Flux.2's, which would "
                    "cut off the rest.",
                ),
            ],
            outputs=[
                io.Image.Output("image", tooltip="The photo, or the part of it, at working size: encode this one."),
                io.Mask.Output("mask", tooltip="The part's mask in the photo's own pixels; white without a mask."),
                io.BoundingBox.Output("region", tooltip="Where the part lies in the photo, for Pixel Composite."),
            ],
        )

    @classmethod
    def execute(
        cls, image: Tensor, side: int, context: float, mask: Tensor | None = None, multiple: int = LATENT_SCALE
    ) -> io.NodeOutput:
        height, width = image.shape[1:3]
        if mask is None:
            region, masked = Region(0, 0, width, height), image.new_ones(1, height, width)
        else:
            masked = checked_mask(mask)
            require_painted(masked, "paint on the image in Load Image's mask editor, or disconnect the mask")
            if masked.shape[1:] != (height, width):
                raise ValueError(
                    f"the mask is {masked.shape[2]} x {masked.shape[1]}, the image {width} x {height}; give a mask of the "
                    "image's size."
                )
            region = region_around(masked, side, context, multiple)
        size = working_size(region.width, region.height, side, multiple)
        part = resized(region.cut(image), *size).clamp(0, 1).to(image.dtype)
        return io.NodeOutput(part, region.cut(masked), asdict(region))


class RetraceChangedRegion(RetraceNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RetraceChangedRegion",
            display_name="Changed Region (Retrace)",
            category="Retrace/Inpaint",
            description="Finds where an edit changed the picture, from the edit and the same picture without it, and returns "
            "a soft mask. Pixel Composite then keeps the photo's own pixels everywhere else.",
            search_aliases=["difference mask", "changed area", "compare", "diff", "keep background"],
            inputs=[
                io.Image.Input("edited", tooltip="The edit, decoded."),
                io.Image.Input(
                    "round_trip", tooltip="The photo encoded and decoded at the same size, without the edit."
                ),
                io.Float.Input(
                    "smallest",
                    default=0.06,
                    min=0.0,
                    max=1.0,
                    step=0.005,
                    tooltip="Differences below this, from 0 to 1, do not count as changed; above it Otsu's method finds the "
                    "threshold.",
                ),
                io.Int.Input("grow", default=8, min=0, max=512, tooltip="Pixels that are added around what changed."),
                io.Int.Input("feather", default=4, min=0, max=256, tooltip="Width of the soft edge in pixels."),
            ],
            outputs=[io.Mask.Output("mask", tooltip="1 where the pictures differ, 0 where they agree.")],
        )

    @classmethod
    def execute(cls, edited: Tensor, round_trip: Tensor, smallest: float, grow: int, feather: int) -> io.NodeOutput:
        return io.NodeOutput(changed_region(edited, round_trip, smallest, grow, feather))
