"""The methods by name, as the node offers them and the benchmark measures them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

from .binary import binary, binary_adaptive, binary_otsu
from .blur import blur
from .canny import canny, canny_auto, pyramid_canny
from .color_grid import color_grid
from .inpaint import inpaint
from .lineart import lineart
from .lines import lines_hough, lines_lsd
from .normal_map import normal_map
from .pixels import Array
from .recolor import recolor_intensity, recolor_luminance
from .scribble import scribble, xdog
from .shuffle import shuffle, shuffler
from .soft_edge import soft_edge
from .tile import tile_guided, tile_pyramid, tile_simple

METHODS: Mapping[str, Callable[..., Array]] = MappingProxyType(
    {
        "canny": canny,
        "canny_auto": canny_auto,
        "canny_pyramid": pyramid_canny,
        "soft_edge": soft_edge,
        "scribble": scribble,
        "scribble_xdog": xdog,
        "lineart": lineart,
        "binary": binary,
        "binary_otsu": binary_otsu,
        "binary_adaptive": binary_adaptive,
        "lines_lsd": lines_lsd,
        "lines_hough": lines_hough,
        "color_grid": color_grid,
        "shuffle": shuffle,
        "tile_pyramid": tile_pyramid,
        "tile_simple": tile_simple,
        "tile_guided": tile_guided,
        "recolor_luminance": recolor_luminance,
        "recolor_intensity": recolor_intensity,
        "blur": blur,
        "inpaint": inpaint,
        "normal_map": normal_map,
    }
)


def bind(name: str, **parameters: Any) -> Callable[..., Array]:  # noqa: ANN401
    """Bind a method's parameters, for use on many images (`batch.hint_batch`).

    Raises ValueError if there is no method of this name, or if `shuffler` does.
    """
    if name not in METHODS:
        raise ValueError(f"there is no method {name!r}; choose one of {', '.join(METHODS)}.")
    if name == "shuffle":
        return shuffler(**parameters)
    return partial(METHODS[name], **parameters)
