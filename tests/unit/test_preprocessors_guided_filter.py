from __future__ import annotations

import cv2
import numpy as np
import pytest
from retrace_pack.preprocessors.guided_filter import guided_filter


@pytest.fixture
def image() -> np.ndarray:
    return cv2.resize(np.random.default_rng(0).integers(0, 256, (7, 9, 3), np.uint8), (45, 35))


def test_is_the_papers_filter(image):
    radius, eps = 3, 0.02
    values = image / 255.0
    pad = np.pad(values, ((radius, radius), (radius, radius), (0, 0)), mode="reflect")
    gains, offsets = np.empty((35, 45, 3, 3)), np.empty((35, 45, 3))
    for y in range(35):
        for x in range(45):
            window = pad[y : y + 2 * radius + 1, x : x + 2 * radius + 1].reshape(-1, 3)
            covariance = np.cov(window.T, bias=True)
            gains[y, x] = covariance @ np.linalg.inv(covariance + eps * np.eye(3))
            offsets[y, x] = window.mean(0) - gains[y, x] @ window.mean(0)
    side = (2 * radius + 1,) * 2
    gain = cv2.blur(gains.reshape(35, 45, 9), side).reshape(35, 45, 3, 3)
    expected = np.einsum("yxij,yxj->yxi", gain, values) + cv2.blur(offsets, side)
    result = guided_filter(image, radius, eps)
    assert np.abs(result - np.clip(expected, 0, 1) * 255).max() <= 1.0


def test_without_smoothing_it_is_the_image_and_with_much_it_is_the_mean_of_means(image):
    assert np.abs(guided_filter(image, 3, 1e-9).astype(int) - image).max() <= 1
    mean = cv2.blur(cv2.blur(image.astype(np.float32), (7, 7)), (7, 7))
    assert np.abs(guided_filter(image, 3, 1e4) - mean).max() <= 1.0


def test_measuring_on_a_smaller_image_changes_little(image):
    large = cv2.resize(image, (180, 140), interpolation=cv2.INTER_CUBIC)
    exact, fast = (guided_filter(large, 8, 0.02, subsample).astype(int) for subsample in (1.0, 2.0))
    assert 0 < np.abs(exact - fast).mean() < 3.0


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (2, 2)])
def test_tiny_images(size):
    image = np.full((*size, 3), 90, np.uint8)
    assert np.abs(guided_filter(image, 7, 0.01, 4.0).astype(int) - image).max() <= 1


@pytest.mark.parametrize("wrong", [{"radius": 0}, {"eps": 0}, {"subsample": 0.5}])
def test_parameters_out_of_range_are_refused(image, wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is {next(iter(wrong.values()))}"):
        guided_filter(image, **({"radius": 3, "eps": 0.1} | wrong))
