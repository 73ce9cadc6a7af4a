from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from retrace_pack.preprocessors.binary import binary, binary_adaptive, binary_otsu

GRAY = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9))


@given(GRAY, st.integers(0, 255))
def test_white_is_above_the_threshold(image, threshold):
    assert np.array_equal(binary(image, threshold) == 255, image > threshold)
    assert np.array_equal(binary(image, threshold, invert=True), 255 - binary(image, threshold))


@given(GRAY)
def test_thresholding_twice_changes_nothing(image):
    once = binary(image)
    assert np.array_equal(binary(once), once)
    if image.min() < image.max():
        once = binary_otsu(image)
        assert np.array_equal(binary_otsu(once), once)


def test_otsu_parts_the_histogram_where_the_classes_differ_most():
    rng = np.random.default_rng(0)
    image = np.where(rng.random((60, 60)) < 0.4, rng.normal(70, 12, (60, 60)), rng.normal(170, 20, (60, 60)))
    image = image.clip(0, 255).astype(np.uint8)

    def between(threshold: int) -> float:
        low = image <= threshold
        return low.mean() * (1 - low.mean()) * (image[low].mean() - image[~low].mean()) ** 2

    best = max(range(image.min(), image.max()), key=between)
    assert np.array_equal(binary_otsu(image) == 255, image > best)
    assert np.array_equal(binary_otsu(image, invert=True), 255 - binary_otsu(image))


def test_adaptive_compares_with_the_surroundings():
    shade = np.linspace(40, 220, 90)[None].repeat(60, 0)
    shade[20:40:4] -= 25
    image = shade.astype(np.uint8)
    mean = np.rint(cv2.blur(image.astype(np.float64), (15, 15), borderType=cv2.BORDER_REPLICATE))
    hint = binary_adaptive(image, block_size=15, offset=5, gaussian=False)
    assert np.array_equal(hint == 255, image > mean - 5)
    assert (hint[24] == 0).all() and (hint[10] == 255).all(), "the lines, and only they, whatever the light"
    noise = np.random.default_rng(0).integers(0, 256, (60, 90), np.uint8)
    assert not np.array_equal(binary_adaptive(noise, 15), binary_adaptive(noise, 15, gaussian=False))
    assert np.array_equal(binary_adaptive(image, 15, 5, gaussian=False, invert=True), 255 - hint)


def test_parameters_out_of_range_are_refused():
    image = np.zeros((4, 4), np.uint8)
    with pytest.raises(ValueError, match="threshold is 300"):
        binary(image, 300)
    for block in (1, 4):
        with pytest.raises(ValueError, match=f"block_size is {block}"):
            binary_adaptive(image, block)
