from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from retrace_pack.preprocessors import pixels
from retrace_pack.preprocessors.pixels import as_gray8, as_gray_float, as_rgb8, as_rgb_float, write_hint


def test_every_level_survives_the_way_to_float_and_back():
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    out = np.empty((16, 16, 3), np.float32)
    write_hint(levels, out)
    assert np.array_equal(out, np.repeat((levels / np.float32(255))[:, :, None], 3, axis=2))
    assert np.array_equal(as_rgb8(out), np.repeat(levels[:, :, None], 3, axis=2))


@given(hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=2), elements=st.floats(-2, 2, width=32)))
def test_floats_round_to_the_nearest_level_and_saturate(image):
    expected = np.rint(np.clip(image, 0, 1) * np.float32(255)).astype(np.uint8)
    assert np.array_equal(as_gray8(image), expected)


def test_blocks_of_rows_meet_without_a_seam(monkeypatch):
    monkeypatch.setattr(pixels, "BLOCK_ELEMENTS", 100)
    image = np.random.default_rng(0).random((57, 13, 3), np.float32) * 1.2 - 0.1
    assert np.array_equal(as_rgb8(image), np.rint(np.clip(image, 0, 1) * np.float32(255)).astype(np.uint8))
    gray = np.random.default_rng(0).integers(0, 256, (57, 13), np.uint8)
    out = np.empty((57, 13, 3), np.float32)
    write_hint(gray, out)
    assert np.array_equal(out[..., 1], gray / np.float32(255))


@pytest.mark.parametrize("read", [as_rgb8, as_gray8, as_rgb_float, as_gray_float])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("row", [0, 299])
def test_nan_and_infinity_are_refused_wherever_they_are(read, bad, row):
    image = np.full((300, 400, 3), 0.5, np.float32)
    image[row, 7, 1] = bad
    with pytest.raises(ValueError, match="NaN or infinite"):
        read(image)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_float_dtypes_read_as_float32_does(dtype):
    image = np.random.default_rng(0).random((5, 6, 3)).astype(dtype)
    assert np.array_equal(as_rgb8(image), as_rgb8(image.astype(np.float32)))


def test_gray_images_read_as_rgb_with_three_equal_channels():
    gray = np.random.default_rng(0).integers(0, 256, (5, 6), np.uint8)
    rgb = np.repeat(gray[:, :, None], 3, axis=2)
    for image in (gray, gray[:, :, None], gray / np.float32(255)):
        assert np.array_equal(as_rgb8(image), rgb)
        assert np.array_equal(as_gray8(image), gray)
        assert np.array_equal(as_rgb_float(image), rgb / np.float32(255))
    assert np.array_equal(as_gray8(rgb), gray)


def test_alpha_is_laid_over_white():
    image = np.array([[[0.2, 0.4, 0.6, 0.0], [0.2, 0.4, 0.6, 1.0], [0.2, 0.4, 0.6, 0.5]]], np.float32)
    expected = np.array([[[1, 1, 1], [0.2, 0.4, 0.6], [0.6, 0.7, 0.8]]], np.float32)
    np.testing.assert_allclose(as_rgb_float(image), expected, atol=1e-6)
    assert np.array_equal(as_rgb8(np.rint(image * 255).astype(np.uint8))[0, :2], [[255, 255, 255], [51, 102, 153]])


def test_luma_weighs_green_most():
    colors = np.eye(3, dtype=np.uint8)[None] * 255
    assert as_gray8(colors).tolist() == [[76, 150, 29]]
    np.testing.assert_allclose(as_gray_float(colors), [[0.299, 0.587, 0.114]], atol=1e-6)


def test_strided_images_are_read_right():
    image = np.random.default_rng(0).random((3, 8, 6), np.float32)
    view = image.transpose(1, 2, 0)[::2, ::-1]
    assert np.array_equal(as_rgb8(view), as_rgb8(view.copy()))
    assert as_rgb8(view).flags.c_contiguous


def test_a_float_image_is_not_changed_by_being_read():
    image = np.random.default_rng(0).random((4, 5, 3), np.float32) * 3 - 1
    before = image.copy()
    assert np.array_equal(as_rgb_float(image), before)
    as_rgb8(image)
    assert np.array_equal(image, before)


@settings(max_examples=20)
@given(hnp.array_shapes(min_dims=1, max_dims=4, max_side=4))
def test_shapes_that_are_no_image_are_refused(shape):
    image = np.zeros(shape, np.float32)
    if len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3, 4)):
        assert as_rgb8(image).shape == (*shape[:2], 3)
    else:
        with pytest.raises(ValueError, match="shape"):
            as_rgb8(image)


def test_empty_images_and_integers_are_refused():
    with pytest.raises(ValueError, match="at least one pixel"):
        as_rgb8(np.zeros((0, 5, 3), np.float32))
    with pytest.raises(ValueError, match="dtype int64"):
        as_rgb8(np.zeros((4, 5, 3), np.int64))
