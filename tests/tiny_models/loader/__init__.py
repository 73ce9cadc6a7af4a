"""Loader pack for the tests and the demo: registers the miniatures' layouts with ComfyUI's stock loaders."""

from .layouts import register

register()

NODE_CLASS_MAPPINGS: dict[str, type] = {}
