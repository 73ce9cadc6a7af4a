"""Prepare the mask for inpainting: shape it, and scale it to latent size."""

from __future__ import annotations

from typing import get_args

from comfy_api.latest import io
from torch import Tensor

from ..host.report import absent_output
from ..samplers.blend_mask import (
    LatentSize,
    checked_mask,
    feather_mask,
    fill_holes,
    grow_mask,
    pad_image,
    require_painted,
    snap_mask,
    to_latent_size,
)
from .node import RetraceNode


class RetraceBlendMask(RetraceNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RetraceBlendMask",
            display_name="Blend Mask (Retrace)",
            category="Retrace/Inpaint",
            description="Prepares a mask for inpainting: inverts, fills holes, grows or shrinks, feathers and snaps "
            "it, in this order, and scales it to latent size without losing thin strokes. Pads an image "
            "to multiples of eight.",
            search_aliases=[
                "grow mask",
                "feather mask",
                "fill holes",
                "invert mask",
                "latent mask",
                "pad to multiple of 8",
            ],
            inputs=[
                io.Mask.Input("mask", tooltip="White is repainted, black is kept."),
                io.Boolean.Input("invert", default=False, tooltip="Swaps white and black."),
                io.Boolean.Input("fill_holes", default=False, tooltip="Also repaints whatever the mask encloses."),
                io.Int.Input(
                    "grow",
                    default=0,
                    min=-512,
                    max=512,
                    tooltip="Grows the mask by this many pixels; negative values shrink it.",
                ),
                io.Int.Input("feather", default=0, min=0, max=256, tooltip="Width of the soft edge in pixels."),
                io.Float.Input(
                    "snap",
                    default=0.0,
                    min=0.0,
                    max=0.49,
                    step=0.01,
                    tooltip="Values this close to 0 or 1 become exactly 0 or 1, so that areas that look kept are "
                    "kept exactly.",
                ),
                io.Combo.Input(
                    "latent_size",
                    options=list(get_args(LatentSize)),
                    default="maximum",
                    tooltip="How an 8 x 8 block of pixels becomes one latent pixel: maximum repaints it if any of "
                    "them is white, area takes their average.",
                ),
                io.Image.Input("image", optional=True, tooltip="The image that will be encoded, at the mask's size."),
            ],
            outputs=[
                io.Mask.Output("mask", tooltip="The mask at its own size, for Pixel Composite."),
                io.Mask.Output("latent_mask", tooltip="The mask at latent size, for the sampling node."),
                io.Image.Output(
                    "image",
                    tooltip="The image, with its edge repeated until both sides are multiples of 8: encode this one.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        mask: Tensor,
        invert: bool,
        fill_holes: bool,
        grow: int,
        feather: int,
        snap: float,
        latent_size: LatentSize,
        image: Tensor | None = None,
    ) -> io.NodeOutput:
        shaped = prepared_mask(checked_mask(mask), invert, fill_holes, grow, feather, snap)
        require_painted(shaped, "paint on the image in Load Image's mask editor, or change invert, grow or snap")
        if image is not None and image.shape[1:3] != shaped.shape[1:]:
            raise ValueError(
                f"the image is {image.shape[2]} x {image.shape[1]}, the mask {shaped.shape[2]} x {shaped.shape[1]}; "
                "give a mask of the image's size."
            )
        absent = absent_output(f"{cls.title()}: the image output needs an image at the input.")
        return io.NodeOutput(shaped, to_latent_size(shaped, latent_size), absent if image is None else pad_image(image))


def prepared_mask(mask: Tensor, invert: bool, fill: bool, grow: int, feather: int, snap: float) -> Tensor:
    """The operations, in the order of the node's description."""
    mask = 1 - mask if invert else mask
    mask = fill_holes(mask) if fill else mask
    return snap_mask(feather_mask(grow_mask(mask, grow), feather), snap)
