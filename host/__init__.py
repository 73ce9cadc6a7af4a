"""The one wall to ComfyUI's internals: when ComfyUI changes, only this folder changes."""
