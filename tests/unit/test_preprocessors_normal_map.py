from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from retrace_pack.preprocessors.normal_map import normal_map

PLAIN = {"smoothing": 0.0, "background": 0.0}


def _normals(depth: np.ndarray, **options: object) -> np.ndarray:
    return normal_map(depth, **{**PLAIN, **options}) * 2.0 - 1.0


@given(st.floats(-0.01, 0.01), st.floats(-0.01, 0.01), st.floats(0.1, 2.0))
def test_a_plane_has_one_normal_up_to_its_border(across, down, relief):
    y, x = np.mgrid[0:20, 0:30]
    depth = (0.5 + across * (x - 15) + down * (y - 10)).astype(np.float32)
    slope = np.array([across, down]) * relief * 20
    expected = np.array([*slope, 1.0]) / np.sqrt(1.0 + (slope**2).sum())
    assert np.abs(_normals(depth, relief=relief) - expected).max() < 2e-4


def test_a_sphere_faces_everywhere():
    y, x = np.mgrid[-1:1:201j, -1:1:201j]
    inside = x**2 + y**2 < 0.7
    depth = np.sqrt(np.clip(1 - x**2 - y**2, 0, None)).astype(np.float32)
    # A radius of 100 pixels is 100/201 of the picture's side.
    normals = _normals(depth, relief=100 / 201)
    # Red left, green up: the left half (x < 0) faces left, the upper half (y < 0) faces up.
    expected = np.stack([-x, -y, depth], axis=2)
    assert np.abs(normals - expected)[inside].max() < 0.01


@pytest.mark.parametrize("convention, signs", [("controlnet", (1, 1)), ("opengl", (-1, 1)), ("directx", (-1, -1))])
def test_conventions_turn_axes(convention, signs):
    depth = np.random.default_rng(0).random((9, 12)).astype(np.float32)
    expected = _normals(depth) * np.array([*signs, 1])
    np.testing.assert_allclose(_normals(depth, convention=convention), expected, atol=1e-6)


def test_normals_have_length_one_and_face_the_viewer():
    normals = _normals(np.random.default_rng(0).random((30, 40)).astype(np.float32))
    np.testing.assert_allclose(np.linalg.norm(normals, axis=2), 1.0, atol=1e-5)
    assert (normals[..., 2] > 0).all()


def test_the_background_faces_the_viewer():
    depth = np.random.default_rng(0).random((30, 40)).astype(np.float32)
    normals = normal_map(depth, smoothing=0.0, background=0.3)
    assert np.array_equal(normals[depth < 0.3], np.tile(np.float32([0.5, 0.5, 1.0]), ((depth < 0.3).sum(), 1)))
    assert (np.abs(normals[depth >= 0.3, :2] - 0.5) > 0.01).any(axis=1).mean() > 0.9


def test_smoothing_takes_the_steps_of_an_8_bit_depth():
    ramp = np.tile(np.linspace(0, 60, 200), (50, 1))
    rough, smooth = (
        normal_map(ramp.astype(np.uint8), smoothing=s, background=0)[25, 20:-20, 0].std() for s in (0.0, 3.0)
    )
    assert smooth < 0.2 * rough


@pytest.mark.parametrize(
    "wrong, match",
    [
        ({"relief": 0}, "relief is 0"),
        ({"smoothing": -1}, "smoothing is -1"),
        ({"background": 2}, "background is 2"),
        ({"convention": "maya"}, "convention is 'maya'"),
    ],
)
def test_parameters_out_of_range_are_refused(wrong, match):
    with pytest.raises(ValueError, match=match):
        normal_map(np.zeros((4, 4), np.float32), **wrong)
