"""Inpainting, around the sampler: the mask before it, the pixels after it, and depth as a condition."""

from __future__ import annotations

from typing import Any, get_args

from comfy_api.latest import io
from torch import Tensor

from ..host.depth_model import depth_model, with_depth
from ..host.latents import latent_samples
from ..host.report import absent_output
from ..preprocessors.depth_condition import depth_condition
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
from ..samplers.pixel_composite import Blend, composite_pixels
from .node import RetraceNode
from .opencv import require_opencv
from .types import negative_input, positive_input


class RetraceBlendMask(RetraceNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RetraceBlendMask",
            display_name="Blend Mask (Retrace)",
            category="retrace/inpainting",
            description="Prepares a mask for inpainting: inverts, fills holes, grows or shrinks, feathers, snaps, in this order, "
            "and brings it to latent size without losing thin strokes. Pads an image to multiples of eight.",
            search_aliases=[
                "grow mask",
                "feather mask",
                "fill holes",
                "invert mask",
                "latent mask",
                "pad to multiple of 8",
            ],
            inputs=[
                io.Mask.Input("mask", tooltip="White is painted anew, black is kept."),
                io.Boolean.Input("invert", default=False, tooltip="Swap what is painted and what is kept."),
                io.Boolean.Input("fill_holes", default=False, tooltip="Paint whatever the mask encloses as well."),
                io.Int.Input(
                    "grow", default=0, min=-512, max=512, tooltip="Pixels to grow by; a negative number shrinks."
                ),
                io.Int.Input("feather", default=0, min=0, max=256, tooltip="Softness of the edge in pixels."),
                io.Float.Input(
                    "snap",
                    default=0.0,
                    min=0.0,
                    max=0.49,
                    step=0.01,
                    tooltip="Values this near to 0 or 1 become 0 or 1, so that what looks kept is kept exactly.",
                ),
                io.Combo.Input(
                    "latent_size",
                    options=list(get_args(LatentSize)),
                    default="maximum",
                    tooltip="What a latent pixel takes of its 8 x 8 pixels: maximum paints it if any is white, area makes it grey.",
                ),
                io.Image.Input("image", optional=True, tooltip="The image to be encoded, of the mask's size."),
            ],
            outputs=[
                io.Mask.Output("mask", tooltip="The mask in its own size, for Pixel Composite."),
                io.Mask.Output("latent_mask", tooltip="The mask in latent size, for the sampling node."),
                io.Image.Output(
                    "image", tooltip="The image, its edge repeated until both sides divide by 8: encode this one."
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
    """The steps in the order that the node's description tells."""
    mask = 1 - mask if invert else mask
    mask = fill_holes(mask) if fill else mask
    return snap_mask(feather_mask(grow_mask(mask, grow), feather), snap)


class RetracePixelComposite(RetraceNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RetracePixelComposite",
            display_name="Pixel Composite (Retrace)",
            category="retrace/inpainting",
            description="Puts the source's own pixels back wherever the mask is black, bit for bit, and hides the seam inside of "
            "the mask: by fading, by matching the colour, by Poisson blending.",
            search_aliases=["composite", "paste back", "stitch", "seamless clone", "poisson", "color match", "overlay"],
            inputs=[
                io.Image.Input("source", tooltip="The original image, never encoded."),
                io.Image.Input("edited", tooltip="The inpainted image; padding of Blend Mask is cut off."),
                io.Mask.Input("mask", tooltip="White takes the edit, black keeps the source; any size."),
                io.Int.Input(
                    "feather",
                    default=4,
                    min=0,
                    max=256,
                    tooltip="Pixels over which the edit fades in, inside of the mask.",
                ),
                io.Boolean.Input(
                    "match_colour",
                    default=False,
                    tooltip="Fit the edit's colours to the source by the pixels that are kept.",
                ),
                io.Combo.Input(
                    "blend",
                    options=list(get_args(Blend)),
                    default="feather",
                    tooltip="poisson also fits the edit's gradients into the source (OpenCV, 8 bits, slower).",
                ),
            ],
            outputs=[io.Image.Output("image", tooltip="The source with the edit in the mask.")],
        )

    @classmethod
    def execute(
        cls, source: Tensor, edited: Tensor, mask: Tensor, feather: int, match_colour: bool, blend: Blend
    ) -> io.NodeOutput:
        if blend == "poisson":
            require_opencv()
        return io.NodeOutput(composite_pixels(source, edited, mask, feather, match_colour, blend))


class RetraceDepthToImage(RetraceNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RetraceDepthToImage",
            display_name="Depth To Image (Retrace)",
            category="retrace/inpainting",
            description="Lets a depth checkpoint (stable-diffusion-2-depth, five input channels) be sampled: depth is concatenated "
            "to the latent, where ComfyUI would put an inpainting model's mask and image.",
            search_aliases=["depth2img", "depth to image", "sd2 depth", "512-depth-ema", "structure"],
            inputs=[
                io.Model.Input("model", tooltip="A depth checkpoint, of Load Checkpoint."),
                positive_input("The prompt."),
                negative_input("The negative prompt."),
                io.Image.Input("depth", tooltip="Depth maps, near is bright; one, or one for each latent."),
                io.Latent.Input("latent", tooltip="The latent that will be sampled: it tells the size."),
            ],
            outputs=[
                io.Model.Output("model", tooltip="The model, to be sampled with these prompts only."),
                io.Conditioning.Output("positive", tooltip="The prompt with the depth."),
                io.Conditioning.Output("negative", tooltip="The negative prompt with the depth."),
            ],
        )

    @classmethod
    def execute(
        cls, model: io.Model.Type, positive: list[Any], negative: list[Any], depth: Tensor, latent: dict[str, Any]
    ) -> io.NodeOutput:
        patched = depth_model(model)
        batch, _, height, width = latent_samples(latent, model).shape
        if depth.ndim == 4 and len(depth) not in (1, batch):
            raise ValueError(f"there are {len(depth)} depth maps for {batch} latents; give one, or one for each.")
        condition = depth_condition(depth, height, width)
        return io.NodeOutput(patched, with_depth(positive, condition), with_depth(negative, condition))


NODES: list[type[io.ComfyNode]] = [RetraceBlendMask, RetracePixelComposite, RetraceDepthToImage]
