from __future__ import annotations

import numpy as np
import pytest
from retrace_pack.preprocessors.depth import nearness, stretch_depths


def test_metres_turn_into_nearness_and_inverse_depth_stays():
    meters = np.array([[0.0, 0.5, 2.0]], np.float64)
    np.testing.assert_allclose(nearness(meters, metric=True), [[1000.0, 2.0, 0.5]], rtol=1e-6)
    assert nearness(meters, metric=False).tolist() == [[0.0, 0.5, 2.0]]
    assert nearness(meters, metric=False).dtype == np.float32


def test_nan_is_refused():
    with pytest.raises(ValueError, match="NaN or infinite.*float32"):
        nearness(np.array([[np.nan]]), metric=False)


def _raw() -> np.ndarray:
    depths = np.full((3, 2, 2, 3), np.nan, np.float32)
    depths[..., 0] = [[[1, 2], [3, 5]], [[10, 20], [20, 20]], [[7, 7], [7, 7]]]
    return depths


def test_each_picture_is_stretched_alone():
    depths = _raw()
    stretch_depths(depths, together=False)
    assert np.array_equal(depths[..., 0], depths[..., 1]) and np.array_equal(depths[..., 0], depths[..., 2])
    np.testing.assert_allclose(depths[..., 0], [[[0, 0.25], [0.5, 1]], [[0, 1], [1, 1]], [[0, 0], [0, 0]]], atol=1e-6)


def test_a_batch_is_stretched_together():
    depths = _raw()
    stretch_depths(depths, together=True)
    np.testing.assert_allclose(depths[0, ..., 2], (np.array([[1, 2], [3, 5]]) - 1) / 19, atol=1e-6)
    assert depths.min() == 0.0 and abs(depths.max() - 1.0) < 1e-6
