from __future__ import annotations

import cv2
import numpy as np
import pytest
from retrace_pack.preprocessors.recolor import recolor_intensity, recolor_luminance


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.2])
def test_luminance_is_cie_lightness(image, gamma):
    lightness = cv2.cvtColor(image / np.float32(255), cv2.COLOR_RGB2LAB)[..., 0] / 100.0
    assert np.abs(recolor_luminance(image) - lightness * 255).max() <= 2.0
    expected = 255 * (recolor_luminance(image) / 255.0) ** gamma
    assert np.abs(recolor_luminance(image, gamma) - expected).max() <= 0.5


def test_red_is_red():
    red, blue = (np.full((1, 1, 3), color, np.uint8) for color in ((255, 0, 0), (0, 0, 255)))
    assert recolor_luminance(red)[0, 0] == 136 and recolor_luminance(blue)[0, 0] == 82


def test_intensity_is_the_largest_channel(image):
    assert np.array_equal(recolor_intensity(image), image.max(axis=2))
    expected = 255 * (image.max(axis=2) / 255.0) ** 0.5
    assert np.abs(recolor_intensity(image, 0.5) - expected).max() <= 0.5


def test_recoloring_a_gray_image_by_intensity_changes_nothing(image):
    once = recolor_intensity(image)
    assert np.array_equal(recolor_intensity(once), once)


@pytest.mark.parametrize("method", [recolor_luminance, recolor_intensity])
def test_gamma_must_be_positive(image, method):
    with pytest.raises(ValueError, match="gamma is 0"):
        method(image, 0)
