"""ComfyUI V3 nodes: schema, unpack, one call, NodeOutput. The families are listed here and nowhere else."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from . import (
    attention_mask,
    blend_mask,
    ddim_sample,
    ddim_sampler,
    depth_to_image,
    editing,
    estimate,
    exact_inversion,
    hints,
    inpainting,
    inversion,
    masactrl,
    measuring,
    negative_prompt,
    null_text,
    pixel_composite,
    plug_and_play,
    prompt_to_prompt,
    proximal_guidance,
    schedules,
    trajectory,
)

FAMILIES = (
    schedules,
    ddim_sampler,
    ddim_sample,
    inversion,
    exact_inversion,
    trajectory,
    null_text,
    negative_prompt,
    proximal_guidance,
    editing,
    prompt_to_prompt,
    masactrl,
    plug_and_play,
    attention_mask,
    inpainting,
    blend_mask,
    pixel_composite,
    depth_to_image,
    measuring,
    hints,
    estimate,
)


class RetraceExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [node for family in FAMILIES for node in family.NODES]
