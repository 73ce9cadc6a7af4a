"""Retrace: edit real images in ComfyUI by inverting them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from comfy_api.latest import ComfyExtension

WEB_DIRECTORY = "./web"


async def comfy_entrypoint() -> ComfyExtension:
    # Imported when ComfyUI asks for it, so that pytest can import this folder as a package without ComfyUI.
    from .nodes import RetraceExtension

    return RetraceExtension()
