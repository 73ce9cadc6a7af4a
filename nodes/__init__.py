"""ComfyUI V3 nodes: schema, unpack, one call, NodeOutput. The families are listed here and nowhere else."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from . import estimate, hints, inversion, measuring, samplers, sampling, schedules, trajectory

FAMILIES = (schedules, samplers, sampling, inversion, trajectory, measuring, hints, estimate)


class RetraceExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [node for family in FAMILIES for node in family.NODES]
