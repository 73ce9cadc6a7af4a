from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from retrace_pack.preprocessors.scribble import channel_minimum, scribble, xdog

RGB = hnp.arrays(np.uint8, st.tuples(st.integers(1, 8), st.integers(1, 8), st.just(3)))


@given(RGB, st.integers(0, 255))
def test_dark_ink_becomes_white(image, threshold):
    assert np.array_equal(scribble(image, threshold) == 255, image.min(axis=2) < threshold)
    assert np.array_equal(scribble(image, threshold, invert=True), 255 - scribble(image, threshold))
    assert np.array_equal(channel_minimum(image), image.min(axis=2))


def test_a_scribble_read_as_white_on_black_stays_what_it_is():
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    once = scribble(image)
    assert np.array_equal(scribble(once, invert=True), once)


def test_xdog_is_the_thresholded_difference_of_gaussians():
    image = cv2.resize(np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8), (120, 90))
    values = image.astype(np.float32)
    darkness = (cv2.GaussianBlur(values, (0, 0), 4.0) - cv2.GaussianBlur(values, (0, 0), 0.7)).min(axis=2)
    hint = xdog(image, threshold=20, sigma=0.7, wide_sigma=4.0)
    assert 0 < np.count_nonzero(hint) < hint.size
    assert np.array_equal(hint == 255, darkness > 10)


def test_the_darkest_line_is_a_line():
    # The published code wraps around at 8 bits here and loses the strongest lines.
    image = np.full((60, 60, 3), 255, np.uint8)
    image[:, 30] = 0
    assert (xdog(image)[:, 30] == 255).all() and not xdog(image)[:, :24].any()


def test_parameters_out_of_range_are_refused():
    image = np.zeros((4, 4, 3), np.uint8)
    for refused, match in (
        (lambda: scribble(image, 256), "threshold is 256"),
        (lambda: xdog(image, -1), "threshold is -1"),
        (lambda: xdog(image, sigma=5, wide_sigma=5), "sigma is 5"),
        (lambda: xdog(image, sigma=0), "sigma is 0"),
    ):
        with pytest.raises(ValueError, match=match):
            refused()
