"""A pack for the pictures of the help pages: the depth that a CONDITIONING carries, which no node of ComfyUI shows."""

from __future__ import annotations

from typing import Any


class DepthOfConditioning:
    """noise_concat [B, 1, h, w] in -1..1 as an IMAGE."""

    CATEGORY = "retrace/demo"
    FUNCTION = "show"
    RETURN_TYPES = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802  (ComfyUI's name)
        return {"required": {"conditioning": ("CONDITIONING",)}}

    def show(self, conditioning: list[Any]) -> tuple[Any]:
        depth = conditioning[0][1]["noise_concat"]
        return (((depth + 1) / 2).movedim(1, -1).repeat(1, 1, 1, 3),)


NODE_CLASS_MAPPINGS: dict[str, type] = {"DepthOfConditioning": DepthOfConditioning}
