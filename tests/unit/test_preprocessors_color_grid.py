from __future__ import annotations

import numpy as np
import pytest
from retrace_pack.preprocessors.color_grid import color_grid


def test_cells_are_flat_and_as_many_whole_ones_as_fit():
    image = np.random.default_rng(0).integers(0, 256, (130, 200, 3), np.uint8)
    grid = color_grid(image, 64)
    assert grid.shape == image.shape
    rows = np.flatnonzero((np.diff(grid.astype(int), axis=0) != 0).any(axis=(1, 2)))
    columns = np.flatnonzero((np.diff(grid.astype(int), axis=1) != 0).any(axis=(0, 2)))
    assert rows.tolist() == [64] and len(columns) == 2


def test_averaged_cells_hold_their_mean():
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    grid = color_grid(image, 32, average=True)
    mean = image[:32, 32:64].reshape(-1, 3).mean(axis=0)
    assert np.abs(grid[5, 40] - mean).max() <= 0.5


@pytest.mark.parametrize("average", [False, True])
def test_a_grid_of_a_grid_is_the_grid(average):
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    once = color_grid(image, 16, average)
    assert np.array_equal(color_grid(once, 16, average), once)


def test_an_image_smaller_than_a_cell_is_one_cell():
    image = np.random.default_rng(0).integers(0, 256, (10, 20, 3), np.uint8)
    assert len(np.unique(color_grid(image, 64).reshape(-1, 3), axis=0)) == 1


def test_a_cell_of_no_pixels_is_refused():
    with pytest.raises(ValueError, match="cell_size is 0"):
        color_grid(np.zeros((4, 4, 3), np.uint8), 0)
