from __future__ import annotations

import cv2
import numpy as np
import pytest
from retrace_pack.preprocessors.lines import lines_hough, lines_lsd


@pytest.fixture
def house() -> np.ndarray:
    """A bright rectangle: four long edges, and a short bar."""
    image = np.full((120, 160, 3), 40, np.uint8)
    cv2.rectangle(image, (30, 20), (130, 100), (220, 220, 220), -1)
    cv2.rectangle(image, (6, 60), (16, 62), (220, 220, 220), -1)
    return image


@pytest.mark.parametrize("method", [lines_lsd, lines_hough])
def test_the_edges_of_a_rectangle_are_drawn_where_they_are(house, method):
    hint = method(house, min_length=0.3)
    assert set(np.unique(hint)) == {0, 255}
    near = np.zeros_like(hint)
    cv2.rectangle(near, (30, 20), (130, 100), 255, 5)
    assert not hint[near == 0].any()
    for across in (hint[18:23, 60:100].max(axis=0), hint[98:103, 60:100].max(axis=0)):
        assert (across == 255).all()
    for down in (hint[40:80, 28:33].max(axis=1), hint[40:80, 128:133].max(axis=1)):
        assert (down == 255).all()


def test_short_lines_are_left_out(house):
    assert lines_lsd(house, min_length=0.01)[56:66, :24].any()
    assert not lines_lsd(house, min_length=0.3)[56:66, :24].any()


@pytest.mark.parametrize("method", [lines_lsd, lines_hough])
def test_thickness(house, method):
    thin, thick = (np.count_nonzero(method(house, thickness=thickness)) for thickness in (1, 4))
    assert 2 * thin < thick


@pytest.mark.parametrize("method", [lines_lsd, lines_hough])
def test_a_flat_image_has_no_lines(method):
    hint = method(np.full((50, 60, 3), 90, np.uint8))
    assert hint.shape == (50, 60) and not hint.any()


@pytest.mark.parametrize("method", [lines_lsd, lines_hough])
@pytest.mark.parametrize("wrong", [{"min_length": 1.5}, {"thickness": 0}])
def test_parameters_out_of_range_are_refused(house, method, wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is {next(iter(wrong.values()))}"):
        method(house, **wrong)


def test_hough_refuses_more(house):
    for wrong, match in (
        ({"votes": 0}, "votes is 0"),
        ({"max_gap": 2}, "max_gap is 2"),
        ({"low_threshold": 300}, "low_threshold"),
    ):
        with pytest.raises(ValueError, match=match):
            lines_hough(house, **wrong)
