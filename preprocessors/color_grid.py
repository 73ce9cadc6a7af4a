"""A grid of flat colors, for the color T2I-Adapter."""

from __future__ import annotations

from .pixels import Array, as_rgb8


def color_grid(image: Array, cell_size: int = 64, average: bool = False) -> Array:
    """Reduce the image to flat cells of color, about `cell_size` pixels wide: as many whole cells as fit, evenly spaced.

    Source: T2I-Adapter (Mou et al., 2023), spatial color palette.

    Args:
        image: see `as_rgb8`.
        cell_size: pixels, 1 or more; the adapter was trained with 64.
        average: use the mean color of each cell; False samples its center bicubically, as in the adapter's training.

    Returns:
        [H, W, 3] uint8.

    Raises:
        ValueError: if the cell size is below 1.
    """
    import cv2

    if cell_size < 1:
        raise ValueError(f"cell_size is {cell_size}; it must be 1 or more.")
    rgb = as_rgb8(image)
    height, width = rgb.shape[:2]
    cells = (max(1, width // cell_size), max(1, height // cell_size))
    small = cv2.resize(rgb, cells, interpolation=cv2.INTER_AREA if average else cv2.INTER_CUBIC)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST)
