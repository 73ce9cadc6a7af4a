"""ControlNet hints from pixels, with NumPy and OpenCV only: no weights, no downloads, no ComfyUI.

Every method is a plain function `method(image, **parameters) -> hint` on one image, with one subject per file. An image
is [H, W], [H, W, 1], [H, W, 3] (RGB) or [H, W, 4] (RGBA, composited over white), uint8 in 0..255 or floating point in
0..1. A hint has the image's height and width. It is [H, W] or [H, W, 3], uint8, or float32 where 8 bits are too few.
`methods.bind` looks up a method by name; `batch.hint_batch` runs it over a batch on all cores.
"""
