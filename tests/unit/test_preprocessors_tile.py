from __future__ import annotations

import cv2
import numpy as np
import pytest
from retrace_pack.preprocessors.tile import tile_guided, tile_pyramid, tile_simple

METHODS = [tile_pyramid, tile_simple, tile_guided]


@pytest.fixture
def image() -> np.ndarray:
    return cv2.resize(np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8), (121, 93))


def _center(image: np.ndarray) -> np.ndarray:
    weights = image[..., 0].astype(np.float64)
    return np.array([(weights * axis).sum() / weights.sum() for axis in np.indices(weights.shape)])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [(128, 128), (127, 129), (101, 90)])
def test_the_picture_stays_where_it_is(method, size):
    image = np.zeros((*size, 3), np.uint8)
    cv2.circle(image, (45, 50), 18, (255, 255, 255), -1)
    assert np.abs(_center(method(image)) - _center(image)).max() < 0.3


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (2, 3), (63, 65)])
def test_every_size_is_kept_and_flat_color_stays(method, size):
    image = np.full((*size, 3), (10, 100, 250), np.uint8)
    hint = method(image)
    assert hint.shape == image.shape and np.abs(hint.astype(int) - image).max() <= 1


@pytest.mark.parametrize("method", METHODS)
def test_detail_goes_and_the_mean_stays(image, method):
    noisy = np.clip(image + np.random.default_rng(1).normal(0, 20, image.shape), 0, 255).astype(np.uint8)
    hint = method(noisy)
    assert np.diff(hint.astype(int), axis=1).std() < 0.6 * np.diff(noisy.astype(int), axis=1).std()
    assert abs(hint.mean() - noisy.mean()) < 1.5


def test_each_level_takes_more():
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    deviations = [tile_pyramid(image, levels).std() for levels in (1, 2, 3)]
    assert deviations[0] > deviations[1] > deviations[2]


def test_simple_is_the_published_formula(image):
    small = cv2.resize(image, (60, 46), interpolation=cv2.INTER_AREA)
    grown = cv2.resize(small, (121, 93), interpolation=cv2.INTER_LANCZOS4)
    assert np.array_equal(tile_simple(image, 2.0, 4.0), cv2.GaussianBlur(grown, (5, 5), 2.0))
    assert np.array_equal(tile_simple(image, 1.0, 1.0), image)


def test_guided_keeps_strong_edges_that_simple_blurs():
    image = np.full((60, 60, 3), 40, np.uint8)
    image[:, 30:] = 210
    guided, simple = tile_guided(image, scale=1.0, blur=1.0), tile_simple(image, scale=1.0, blur=8.0)
    steepest = [np.abs(np.diff(hint[30, :, 0].astype(int))).max() for hint in (guided, simple)]
    assert steepest[0] > 150 > steepest[1]


@pytest.mark.parametrize(
    "method, wrong",
    [
        (tile_pyramid, {"levels": 0}),
        (tile_pyramid, {"levels": 11}),
        (tile_simple, {"scale": 0.5}),
        (tile_simple, {"blur": 0}),
        (tile_guided, {"radius": 0}),
        (tile_guided, {"eps": 0}),
    ],
)
def test_parameters_out_of_range_are_refused(image, method, wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is {next(iter(wrong.values()))}"):
        method(image, **wrong)
