from __future__ import annotations

import cv2
import numpy as np
import pytest
from retrace_pack.preprocessors.shuffle import shuffle, shuffler


@pytest.fixture
def image() -> np.ndarray:
    return cv2.resize(np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8), (120, 90))


def test_a_seed_is_a_picture(image):
    np.random.seed(1)
    once = shuffle(image, seed=7, scale=40)
    np.random.seed(2)
    assert np.array_equal(shuffle(image, seed=7, scale=40), once)
    assert not np.array_equal(shuffle(image, seed=8, scale=40), once)
    assert not np.array_equal(once, image)


def test_a_shuffler_serves_images_of_every_size(image):
    shuffled = shuffler(3, 40)
    for size in ((90, 120), (50, 60), (90, 120)):
        small = image[: size[0], : size[1]]
        assert np.array_equal(shuffled(small), shuffle(small, 3, 40))


def test_all_of_the_image_is_in_reach():
    across = np.tile(np.arange(256, dtype=np.uint8)[None, :, None], (256, 1, 3))
    for image in (across, across.transpose(1, 0, 2)):
        moved = shuffle(image, seed=0, scale=32)
        assert moved.min() == 0 and moved.max() == 255


def test_no_color_is_invented():
    assert (shuffle(np.full((40, 50, 3), (10, 200, 90), np.uint8), 5) == (10, 200, 90)).all()


def test_a_smaller_scale_tears_more(image):
    def roughness(scale: int) -> float:
        return float(np.abs(np.diff(shuffle(image, 1, scale).astype(int), axis=1)).mean())

    assert roughness(8) > 1.5 * roughness(200)


@pytest.mark.parametrize("size", [(1, 1), (1, 30), (300, 2)])
def test_narrow_images(size):
    assert shuffle(np.zeros((*size, 3), np.uint8)).shape == (*size, 3)


@pytest.mark.parametrize("size", [(2, 32767), (32767, 2)])
def test_an_image_longer_than_opencv_follows_is_refused(size):
    with pytest.raises(ValueError, match=f"the image is {size[1]} x {size[0]} pixels, .* 32766"):
        shuffle(np.zeros((*size, 3), np.uint8))


@pytest.mark.parametrize("wrong", [{"seed": -1}, {"scale": 1}, {"scale": 5000}])
def test_parameters_out_of_range_are_refused(image, wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is {next(iter(wrong.values()))}"):
        shuffle(image, **wrong)
