from __future__ import annotations

import cv2
import numpy as np
import pytest
from retrace_pack.preprocessors.blur import blur


def test_is_a_gaussian():
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    exact = cv2.GaussianBlur(image.astype(np.float64), (0, 0), 3.0)
    assert np.abs(blur(image, 3.0) - exact).max() <= 1.5
    assert blur(image, 9.0).std() < blur(image, 3.0).std() < image.std()


def test_sigma_must_be_positive():
    with pytest.raises(ValueError, match="sigma is 0"):
        blur(np.zeros((4, 4, 3), np.uint8), 0)
