"""Many photos through one ComfyUI workflow: items in, a ledger of what is done, workers, a report.

ComfyUI never imports this folder. It needs what ComfyUI's Python has; Ray only where several workers are asked for.
"""
