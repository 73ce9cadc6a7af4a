"""Loader pack for the tests and the demo: registers the layouts of tiny_sd with ComfyUI's stock checkpoint loader."""

from .layouts import register

register()

NODE_CLASS_MAPPINGS: dict[str, type] = {}
