"""ComfyUI V3 nodes: schema, unpack, one call, NodeOutput. The families are listed here and nowhere else."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from . import (
    attention,
    attention_mask,
    editing,
    estimate,
    exact_inversion,
    hints,
    inpainting,
    inpainting_pixels,
    inversion,
    measuring,
    null_text,
    prompt_to_prompt,
    reconstruction,
    samplers,
    sampling,
    schedules,
    trajectory,
)

FAMILIES = (
    schedules,
    samplers,
    sampling,
    inversion,
    exact_inversion,
    trajectory,
    null_text,
    reconstruction,
    editing,
    prompt_to_prompt,
    attention,
    attention_mask,
    inpainting,
    inpainting_pixels,
    measuring,
    hints,
    estimate,
)


class RetraceExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [node for family in FAMILIES for node in family.NODES]
