from __future__ import annotations

import numpy as np
import pytest
from retrace_pack.preprocessors.inpaint import inpaint


@pytest.mark.parametrize("fill, value", [("minus_one", -1.0), ("black", 0.0)])
def test_masked_pixels_are_marked_and_the_others_keep_every_bit(fill, value):
    rng = np.random.default_rng(0)
    image, mask = rng.random((20, 30, 3), np.float32) + 0.01, rng.random((20, 30), np.float32)
    before = image.copy()
    hint = inpaint(image, mask, threshold=0.4, fill=fill)
    assert hint.dtype == np.float32 and np.array_equal(image, before)
    assert (hint[mask > 0.4] == value).all()
    assert np.array_equal(hint[mask <= 0.4], image[mask <= 0.4])


def test_eight_bit_images_become_floats():
    hint = inpaint(np.full((2, 2), 51, np.uint8), np.array([[0, 1], [0, 0]], np.float32))
    assert hint[0, 1].tolist() == [-1.0] * 3 and np.array_equal(
        hint[0, 0], np.full(3, np.float32(51) / np.float32(255))
    )


@pytest.mark.parametrize("wrong, match", [({"fill": "white"}, "fill is 'white'"), ({"threshold": 2}, "threshold is 2")])
def test_parameters_out_of_range_are_refused(wrong, match):
    with pytest.raises(ValueError, match=match):
        inpaint(np.zeros((4, 4, 3), np.float32), np.zeros((4, 4), np.float32), **wrong)


def test_a_mask_of_another_size_is_refused():
    with pytest.raises(ValueError, match="the mask has shape"):
        inpaint(np.zeros((4, 4, 3), np.float32), np.zeros((4, 5), np.float32))
