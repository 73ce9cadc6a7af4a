"""Depth conditioning for the checkpoints that take it."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..host.depth_model import depth_model, with_depth
from ..host.latents import latent_samples
from ..preprocessors.depth_condition import depth_condition
from .inputs import negative_input, positive_input
from .node import RetraceNode


class RetraceDepthToImage(RetraceNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RetraceDepthToImage",
            display_name="Depth To Image (Retrace)",
            category="Retrace/Hints",
            description="Prepares a depth checkpoint (stable-diffusion-2-depth, five input channels) for sampling: "
            "concatenates the depth to the latent, where ComfyUI would add an inpainting model's mask "
            "and image.",
            search_aliases=["depth2img", "depth to image", "sd2 depth", "512-depth-ema", "structure"],
            inputs=[
                io.Model.Input("model", tooltip="A depth checkpoint, from Load Checkpoint."),
                positive_input("The prompt."),
                negative_input("The negative prompt."),
                io.Image.Input("depth", tooltip="Depth maps in which near is bright; one, or one for each latent."),
                io.Latent.Input("latent", tooltip="The latent that will be sampled; it sets the size."),
            ],
            outputs=[
                io.Model.Output("model", tooltip="The model, to be used with these prompts only."),
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
