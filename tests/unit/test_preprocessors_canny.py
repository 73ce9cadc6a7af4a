from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp
from retrace_pack.preprocessors.canny import PYRAMID_SCALES, canny, canny_auto, median8, pyramid_canny


@pytest.fixture
def image() -> np.ndarray:
    coarse = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    return cv2.resize(coarse, (160, 120), interpolation=cv2.INTER_CUBIC)


@pytest.mark.parametrize("low, high", [(0, 0), (50, 150), (100, 200), (33.3, 410.7)])
@pytest.mark.parametrize("aperture", [3, 5, 7])
@pytest.mark.parametrize("l2", [False, True])
def test_equals_opencv_bit_for_bit(image, low, high, aperture, l2):
    expected = cv2.Canny(image, low, high, apertureSize=aperture, L2gradient=l2)
    assert np.array_equal(canny(image, low, high, aperture, l2), expected)
    assert np.array_equal(canny(image / np.float32(255), low, high, aperture, l2), expected)


def test_auto_thresholds_lie_around_the_median_luma(image):
    median = float(np.median(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)))
    assert np.array_equal(canny_auto(image, 0.25), cv2.Canny(image, 0.75 * median, min(255.0, 1.25 * median)))
    assert canny_auto(image, 0.25).any() and not np.array_equal(canny_auto(image, 0.25), canny_auto(image, 0.9))


@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)))
def test_the_median_of_a_histogram_is_the_median(gray):
    assert median8(gray) == np.median(gray)


def test_pyramid_is_the_published_blend(image):
    blended = None
    for scale in PYRAMID_SCALES:
        size = (int(160 * scale), int(120 * scale))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        edges = np.stack([cv2.Canny(small[..., c].copy(), 64, 128) for c in range(3)], axis=2) / 255.0
        if blended is not None:
            edges = cv2.resize(blended, size, interpolation=cv2.INTER_LINEAR) * 0.75 + edges * 0.25
        blended = edges
    summed = blended.sum(axis=2)
    black, white = np.percentile(summed, [1, 99])
    expected = ((summed - black) / (white - black) * 255).clip(0, 255)
    assert white > black
    assert np.abs(pyramid_canny(image).astype(float) - expected).max() <= 2.0


@pytest.mark.parametrize("method", [canny, canny_auto, pyramid_canny])
def test_a_flat_image_has_no_edges(method):
    assert not method(np.full((30, 40, 3), 77, np.uint8)).any()


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (3, 4)])
@pytest.mark.parametrize("method", [canny, canny_auto, pyramid_canny])
def test_tiny_images_keep_their_size(method, size):
    assert method(np.zeros((*size, 3), np.uint8)).shape == size


@pytest.mark.parametrize("low, high", [(-1, 5), (200, 100), (float("nan"), 1)])
@pytest.mark.parametrize("method", [canny, pyramid_canny])
def test_thresholds_in_the_wrong_order_are_refused(image, method, low, high):
    with pytest.raises(ValueError, match="low_threshold"):
        method(image, low, high)


def test_other_apertures_and_spreads_are_refused(image):
    with pytest.raises(ValueError, match="aperture is 4"):
        canny(image, aperture=4)
    with pytest.raises(ValueError, match="spread is 1.5"):
        canny_auto(image, 1.5)
