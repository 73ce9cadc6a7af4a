"""ControlNet hints from pixels: one node with every method of `preprocessors`, each with its own inputs."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io

from ..host.images import as_array, as_image
from ..host.naming import named
from ..host.report import frame_progress
from ..preprocessors.batch import MAX_SIDE, hint_batch
from ..preprocessors.inpaint import FILLS
from ..preprocessors.methods import bind
from ..preprocessors.normal_map import CONVENTIONS
from .node import RetraceNode
from .opencv import require_opencv


def decimal(name: str, default: float, least: float, most: float, tooltip: str, step: float = 0.01) -> io.Input:
    return io.Float.Input(name, default=default, min=least, max=most, step=step, tooltip=tooltip)


def whole(name: str, default: int, least: int, most: int, tooltip: str, step: int = 1) -> io.Input:
    return io.Int.Input(name, default=default, min=least, max=most, step=step, tooltip=tooltip)


def flag(name: str, default: bool, tooltip: str) -> io.Input:
    return io.Boolean.Input(name, default=default, tooltip=tooltip)


def choice(name: str, options: list[str], tooltip: str) -> io.Input:
    return io.Combo.Input(name, options=options, tooltip=tooltip)


def _canny_thresholds(low: float, high: float) -> list[io.Input]:
    return [
        decimal("low_threshold", low, 0, 100000, "Minimum gradient of a pixel that continues a strong edge.", 1),
        decimal("high_threshold", high, 0, 100000, "Minimum gradient of a strong edge. Raise it for fewer edges.", 1),
    ]


def _options() -> list[io.DynamicCombo.Option]:
    invert = flag("invert", False, "Swaps black and white.")
    scale = decimal("scale", 2, 1, 16, "Factor by which the image is reduced before it is enlarged again.", 0.25)
    soften = decimal("blur", 2, 1, 99, "Width of the blur in pixels; no effect below 2.", 0.5)
    gamma = decimal("gamma", 1, 0.1, 4, "Below 1 brightens, above 1 darkens.")
    thickness = whole("thickness", 1, 1, 64, "Width of the drawn lines in pixels.")
    shortest = "Shortest line, as a fraction of the image's shorter side."
    inputs: dict[str, list[io.Input]] = {
        "canny": [
            *_canny_thresholds(100, 200),
            whole("aperture", 3, 3, 7, "Sobel kernel size: 3, 5 or 7. Larger kernels need much higher thresholds.", 2),
            flag("l2_gradient", False, "Measures the gradient by its Euclidean norm instead of |dx| + |dy|."),
        ],
        "canny_auto": [decimal("spread", 0.33, 0, 1, "Distance of the thresholds from the median, as a fraction of "
                                                     "it.")],
        "canny_pyramid": _canny_thresholds(64, 128),
        "soft_edge": [
            decimal("low", 10, 0, 254, "Gray-level step that is still drawn black. Raise it to suppress noise.", 1),
            decimal("high", 60, 1, 255, "Gray-level step that is drawn white. Lower it for brighter lines.", 1),
            decimal("sigma", 1, 0.3, 16, "Finest scale in pixels.", 0.1),
            whole("scales", 3, 1, 6, "Number of scales that are added, each twice as coarse as the one before."),
            decimal("softness", 1.2, 0, 16, "Width of the drawn lines (standard deviation); 0 draws one pixel.", 0.1),
            flag("thin", True, "Keeps only the ridge of each edge. Off: the gradient itself, with wide edges."),
        ],
        "scribble": [
            whole("threshold", 127, 0, 255, "Pixels darker than this (by their darkest channel) are ink."),
            flag("invert", False, "For drawings that are already white on black."),
        ],
        "scribble_xdog": [
            decimal("threshold", 32, 0, 510, "Twice the darkness, in gray levels, that makes a line.", 1),
            decimal("sigma", 0.5, 0.3, 16, "Fine blur in pixels.", 0.1),
            decimal("wide_sigma", 5, 0.4, 64, "Wide blur in pixels; about the width of the widest line.", 0.1),
        ],
        "lineart": [
            decimal("sigma", 6, 0.3, 64, "Blur in pixels that a line is compared with; larger values find wider "
                                         "lines.", 0.1),
            decimal("threshold", 8, 0, 254, "Minimum darkness, in gray levels, that counts when brightness is "
                                            "normalized.", 1),
        ],
        "binary": [whole("threshold", 127, 0, 255, "Pixels brighter than this become white."), invert],
        "binary_otsu": [invert],
        "binary_adaptive": [
            whole("block_size", 31, 3, 999, "Side of the local window in pixels; odd.", 2),
            decimal("offset", 5, -255, 255, "Gray levels by which a pixel must be darker than its surroundings to "
                                            "become black.", 0.5),
            flag("gaussian", True, "Gives nearby pixels more weight."),
            invert,
        ],
        "lines_lsd": [decimal("min_length", 0.03, 0, 1, shortest), thickness],
        "lines_hough": [
            *_canny_thresholds(50, 150),
            whole("votes", 50, 1, 10000, "Minimum number of edge pixels on a line."),
            decimal("min_length", 0.06, 0, 1, shortest),
            decimal("max_gap", 0.01, 0, 1, "Longest gap within a line, as a fraction of the image's shorter side."),
            thickness,
        ],
        "color_grid": [
            whole("cell_size", 64, 1, MAX_SIDE, "Side of a cell in pixels; T2I-Adapter color was trained with 64."),
            flag("average", False, "Mean color of each cell. Off: the color at its center, as the adapter was "
                                   "trained."),
        ],
        "shuffle": [
            whole("seed", 0, 0, 0xFFFFFFFFFFFFFFFF, "The same seed warps every image of the same size in the same "
                                                    "way."),
            whole("scale", 256, 2, 4096, "Size in pixels of the regions that stay together."),
        ],
        "tile_pyramid": [whole("levels", 3, 1, 10, "Each level halves the detail.")],
        "tile_simple": [scale, soften],
        "tile_guided": [
            scale,
            soften,
            whole("radius", 7, 1, 256, "Window of the edge-preserving smoothing in pixels."),
            decimal("eps", 0.01, 0.0001, 1, "Squared contrast below which detail is smoothed away.", 0.0001),
        ],
        "recolor_luminance": [gamma],
        "recolor_intensity": [gamma],
        "blur": [decimal("sigma", 9, 0.1, 256, "Standard deviation in pixels.", 0.1)],
        "inpaint": [
            io.Mask.Input("mask", tooltip="White where the picture will be repainted. One, or one for each image."),
            decimal("threshold", 0.5, 0, 1, "Mask values above this are masked."),
            choice("fill", list(FILLS), "minus_one: ControlNet 1.1 inpaint. black: xinsir's union ControlNet."),
        ],
        "normal_map": [
            decimal("relief", 0.5, 0.01, 16, "Depth from black to white, as a fraction of the image's shorter side."),
            decimal("smoothing", 1, 0, 64, "Blur of the depth before the normals are computed, in pixels: 8-bit "
                                           "depth has steps.", 0.1),
            decimal("background", 0.1, 0, 1, "Depths below this face the viewer; 0 for none."),
            choice("convention", list(CONVENTIONS), "Directions of red and green: left, up (controlnet); right, up; "
                                                    "right, down."),
        ],
    }  # fmt: skip
    return [io.DynamicCombo.Option(name, of_method) for name, of_method in inputs.items()]


class RetracePreprocessor(RetraceNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RetracePreprocessor",
            display_name="ControlNet Hint (Retrace)",
            category="Retrace/Hints",
            description=(
                "Makes the hint image for a ControlNet or T2I-Adapter from a picture: edges, lines, scribbles, "
                "tiles, normals and more. Needs no model and no download, and keeps the image's size."
            ),
            search_aliases=[
                "preprocessor", "aux", "canny", "softedge", "hed", "pidinet", "lineart", "scribble", "xdog", "mlsd",
                "tile", "shuffle", "recolor", "inpaint preprocessor", "normal map", "threshold", "otsu", "annotator",
            ],
            inputs=[
                io.Image.Input("image", tooltip="Pictures of any size; transparency is composited over white."),
                io.DynamicCombo.Input("method", options=_options(), tooltip="Each kind of hint has its own inputs."),
                whole("resolution", 0, 0, MAX_SIDE, "Resizes the shorter side to this length first; 0 keeps the size.", 8),
            ],
            outputs=[io.Image.Output("hint", tooltip="The hint, for Apply ControlNet.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, image: torch.Tensor, method: dict[str, Any], resolution: int) -> io.NodeOutput:
        name = method["method"]
        parameters = {key: value for key, value in method.items() if key not in ("method", "mask")}
        mask = method.get("mask")
        with named(f"method {name}"):
            require_opencv()
            hints = hint_batch(
                as_array(image),
                bind(name, **parameters),
                resolution=resolution,
                masks=None if mask is None else as_array(mask),
                on_frame=frame_progress(len(image)),
            )
        return io.NodeOutput(as_image(hints))
