from __future__ import annotations

import numpy as np
import pytest
from retrace_pack.preprocessors.soft_edge import soft_edge


def _step(height: float, size: int = 80, column: int = 40) -> np.ndarray:
    image = np.full((size, size, 3), 60, np.uint8)
    image[:, column:] += np.uint8(height)
    return image


@pytest.mark.parametrize("height", [40, 80, 160])
def test_strength_is_the_height_of_an_ideal_step(height):
    # Drawn linearly from 0 to 255 gray levels and one pixel wide, the ridge shows the strength itself.
    ridge = soft_edge(_step(height), low=0, high=255, sigma=2.0, scales=2, softness=0)[40]
    assert abs(int(ridge.max()) - height) <= 0.06 * height


def test_a_thinned_edge_is_one_ridge_on_the_step():
    ridge = soft_edge(_step(120), softness=0)[40]
    assert set(np.flatnonzero(ridge)) <= {39, 40} and ridge.any()
    wide = soft_edge(_step(120), softness=0, thin=False)[40]
    assert np.count_nonzero(wide) > 6


def test_softness_widens_the_line_and_keeps_its_peak():
    sharp, soft = (soft_edge(_step(120), softness=softness)[40] for softness in (0, 2.0))
    assert np.count_nonzero(soft) > np.count_nonzero(sharp) + 4
    assert soft.max() >= 0.95 * sharp.max()


def test_an_edge_between_colors_of_equal_luma_is_seen():
    image = np.zeros((40, 40, 3), np.uint8)
    image[:, :20] = (200, 0, 0)
    image[:, 20:] = (0, 102, 0)
    assert soft_edge(image)[20, 17:23].max() > 100


@pytest.mark.parametrize("quarter_turns", [1, 2, 3])
def test_turning_the_image_turns_the_hint(quarter_turns):
    rng = np.random.default_rng(0)
    image = np.kron(rng.integers(0, 256, (6, 6, 3)), np.ones((12, 12, 1))).astype(np.uint8)
    turned = np.rot90(soft_edge(np.rot90(image, quarter_turns)), -quarter_turns).astype(int)
    assert np.abs(turned - soft_edge(image)).mean() < 2.0


def test_diagonal_edges_are_thinned_too():
    y, x = np.mgrid[0:80, 0:80]
    for image in (x > y, x + y > 80):
        ridge = soft_edge(image.astype(np.float32), softness=0)
        assert ridge[40].any() and np.count_nonzero(ridge[40]) <= 2


def test_low_and_high_are_black_and_white():
    assert not soft_edge(_step(20), low=30, high=60).any()
    assert soft_edge(_step(120), low=30, high=60, softness=0).max() == 255


def test_a_flat_image_is_black():
    assert not soft_edge(np.full((9, 11, 3), 200, np.uint8)).any()


@pytest.mark.parametrize(
    "wrong", [{"low": 60, "high": 60}, {"low": -1}, {"sigma": 0}, {"scales": 0}, {"scales": 7}, {"softness": -1}]
)
def test_parameters_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is {next(iter(wrong.values()))}"):
        soft_edge(_step(50), **wrong)
