from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from retrace_pack.preprocessors.lineart import _median_above, lineart


def test_is_the_published_formula():
    image = cv2.resize(np.random.default_rng(0).integers(0, 256, (18, 24, 1), np.uint8), (120, 90))
    image = np.repeat(image[:, :, None], 3, axis=2)
    values = image.astype(np.float32)
    darkness = (cv2.GaussianBlur(values, (0, 0), 6.0) - values).min(axis=2).clip(0, 255)
    median = np.median(darkness[darkness > 8])
    assert median > 16, "else the floor is tested, not the median"
    assert np.abs(lineart(image).astype(float) - (darkness / median * 127).clip(0, 255)).max() <= 1.5


def test_faint_lines_are_not_blown_up():
    image = np.full((40, 40, 3), 200, np.uint8)
    image[:, 20] = 190
    assert lineart(image).max() < 10 * 127 / 16 + 1


@given(hnp.arrays(np.float32, 40, elements=st.floats(0, 255, width=32)), st.floats(0, 100))
def test_median_above_a_threshold(values, threshold):
    above = values[values > np.float32(threshold)]
    median = _median_above(values.reshape(5, 8), threshold)
    if len(above) == 0:
        assert median == 0.0
    else:
        middle = np.sort(above)[(len(above) - 1) // 2]
        assert abs(median - middle) <= 1 / 16


def test_a_flat_image_is_black():
    assert not lineart(np.full((9, 11, 3), 200, np.uint8)).any()


@pytest.mark.parametrize("wrong", [{"sigma": 0}, {"threshold": -1}, {"threshold": 255}])
def test_parameters_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is {next(iter(wrong.values()))}"):
        lineart(np.zeros((4, 4, 3), np.uint8), **wrong)
