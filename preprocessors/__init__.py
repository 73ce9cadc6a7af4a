"""Pixels to ControlNet hints with NumPy and OpenCV only: no weights, no download, no ComfyUI.

Every method is a plain function `method(image, **parameters) -> hint` on one frame, one subject a file. An image is
[H, W], [H, W, 1], [H, W, 3] (RGB) or [H, W, 4] (RGBA, laid over white), uint8 in 0..255 or floating point in 0..1.
A hint has the image's height and width and is uint8 (or float32 where 8 bits would lose something), [H, W] or
[H, W, 3].
`methods.bind` looks a method up by name; `batch.hint_batch` runs one over a batch on all cores.
"""
