from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from retrace_pack.preprocessors.pose_drawing import COLORS, LIMBS, draw_pose
from retrace_pack.preprocessors.pose_keypoints import Person, PoseFrame, read_json

GOLDEN = Path(__file__).parent / "golden"


def _row(count: int, y: float = 20.0, step: float = 12.0) -> np.ndarray:
    return np.array([[10 + step * n, y, 1.0] for n in range(count)], np.float32)


def test_two_people_are_drawn_as_the_reference_draws_them():
    # pose.png was made once, found equal to controlnet_aux 0.0.10's draw_poses pixel by pixel, and looked at.
    frame = read_json((GOLDEN / "pose.json").read_text())[0]
    expected = cv2.imread(str(GOLDEN / "pose.png"))[:, :, ::-1]
    assert np.array_equal(draw_pose(frame), expected)


@pytest.mark.parametrize("limb", range(len(LIMBS)))
def test_each_limb_has_its_color_at_three_fifths(limb):
    body = np.zeros((18, 3), np.float32)
    body[LIMBS[limb][0]], body[LIMBS[limb][1]] = (20, 30, 1), (80, 30, 1)
    picture = draw_pose(PoseFrame((Person(body),), 100, 60))
    assert picture[30, 50].tolist() == [int(channel * 0.6) for channel in COLORS[limb]]
    assert picture[30, 20].tolist() == list(COLORS[LIMBS[limb][0]])
    assert picture[30, 80].tolist() == list(COLORS[LIMBS[limb][1]])
    assert np.count_nonzero(picture[:, 50].any(axis=1)) == 9


def test_unsure_points_and_their_limbs_are_left_out():
    body = _row(18)
    body[3, 2] = 0.29
    body[4, 2] = 0.0
    person = PoseFrame((Person(body),), 240, 40)
    joints = {confidence: draw_pose(person, min_confidence=confidence)[20] for confidence in (0.0, 0.2, 0.3)}
    drawn = {key: [tuple(row[10 + 12 * n]) == COLORS[n] for n in (2, 3, 4)] for key, row in joints.items()}
    assert drawn == {0.0: [True, True, False], 0.2: [True, True, False], 0.3: [True, False, False]}


def test_parts_can_be_left_out():
    frame = PoseFrame((Person(_row(18, 15), _row(21, 40), _row(21, 65), _row(70, 90, 3)),), 300, 110)
    for options, rows in (
        ({}, [True, True, True, True]),
        ({"body": False}, [False, True, True, True]),
        ({"hands": False}, [True, False, False, True]),
        ({"face": False}, [True, True, True, False]),
    ):
        picture = draw_pose(frame, **options)
        assert [bool(picture[y].any()) for y in (15, 40, 65, 90)] == rows


def test_another_size_stretches_the_points_and_not_the_strokes():
    frame = PoseFrame((Person(_row(18)),), 240, 40)
    picture = draw_pose(frame, width=480, height=120)
    assert picture.shape == (120, 480, 3)
    assert picture[60, 20].tolist() == [255, 0, 0]
    assert np.count_nonzero(picture[:, 20].any(axis=1)) == 9


def test_limbs_grow_with_the_picture_for_xinsir():
    for size, width in ((400, 9), (800, 17), (2200, 33)):
        body = np.zeros((18, 3), np.float32)
        body[1], body[2] = (50, 100, 1), (350, 100, 1)
        picture = draw_pose(PoseFrame((Person(body),), size, size), wide_limbs=True)
        assert np.count_nonzero(picture[:, 200].any(axis=1)) == width


def test_points_outside_the_picture_are_clipped():
    body = _row(18, y=-500.0)
    body[5] = (1e6, 1e6, 1)
    assert draw_pose(PoseFrame((Person(body),), 64, 64)).shape == (64, 64, 3)


def test_nobody_is_black():
    assert not draw_pose(PoseFrame((), 30, 20)).any()


def test_a_picture_without_a_size_and_a_wrong_confidence_are_refused():
    with pytest.raises(ValueError, match="set width and height"):
        draw_pose(PoseFrame((), 0, 0))
    assert draw_pose(PoseFrame((), 0, 0), width=5, height=4).shape == (4, 5, 3)
    with pytest.raises(ValueError, match="min_confidence is 2"):
        draw_pose(PoseFrame((), 5, 5), min_confidence=2)
