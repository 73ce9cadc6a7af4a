"""MasaCtrl: a MODEL patch for a latent batch whose first row is the source."""

from __future__ import annotations

import torch
from comfy_api.latest import io

from ..host.self_attention import MaskGuide, patch_masactrl
from ..samplers.blend_mask import checked_mask
from .inputs import unet_input
from .node import RetraceNode


class RetraceMasaCtrl(RetraceNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RetraceMasaCtrl",
            display_name="MasaCtrl: pose (Retrace)",
            category="Retrace/Edit",
            description="Uses the source's content in the edit through mutual self-attention: for prompts that "
            "change pose, layout or number while things keep their appearance. Sample a batch whose "
            "first row is the source and whose other rows are targets.",
            search_aliases=[
                "masactrl",
                "mutual self-attention",
                "change pose",
                "non-rigid edit",
                "consistent",
                "pose edit",
            ],
            inputs=[
                unet_input(),
                io.Int.Input(
                    "start_step",
                    default=4,
                    min=0,
                    max=1000,
                    tooltip="The first step that uses the source's keys and values. In earlier steps the target "
                    "sets its own layout.",
                ),
                io.Float.Input(
                    "start_layer",
                    default=0.625,
                    min=0.0,
                    max=1.0,
                    step=0.005,
                    tooltip="Fraction of the UNet's attention layers that stay unchanged, in execution order. 0.625 "
                    "is layer 10 of SD1.x's 16, as in the paper; for SDXL use about 0.9.",
                ),
                io.Mask.Input(
                    "source_mask",
                    optional=True,
                    tooltip="The object in the source. The target's object then attends only to the source's "
                    "object, and its background only to the background.",
                ),
                io.Mask.Input(
                    "target_mask",
                    optional=True,
                    tooltip="Where the object should be in the target. If not connected, source_mask is used.",
                ),
            ],
            outputs=[io.Model.Output("model", tooltip="The model with the edit, for batches [source, target, ...].")],
        )

    @classmethod
    def execute(
        cls,
        model: io.Model.Type,
        start_step: int,
        start_layer: float,
        source_mask: torch.Tensor | None = None,
        target_mask: torch.Tensor | None = None,
    ) -> io.NodeOutput:
        if source_mask is None and target_mask is not None:
            raise ValueError("target_mask is connected but source_mask is not; connect both or the source's alone.")
        guide = None
        if source_mask is not None:
            source = _only_mask(source_mask, "source_mask")
            guide = MaskGuide(source, source if target_mask is None else _only_mask(target_mask, "target_mask"))
        return io.NodeOutput(patch_masactrl(model, start_step, start_layer, guide, cls.title()))


def _only_mask(mask: torch.Tensor, name: str) -> torch.Tensor:
    """The mask [1, 1, H, W] of the input `name`, shared by all targets."""
    planes = checked_mask(mask)
    if len(planes) != 1:
        raise ValueError(
            f"{name} holds {len(planes)} masks, but one counts for every target; give one mask, and sample targets "
            "with masks of their own one at a time."
        )
    if not bool(planes.any()):
        raise ValueError(
            f"{name} is empty (0 everywhere), so that it shows no object; paint it, or disconnect the mask."
        )
    return planes[None]
