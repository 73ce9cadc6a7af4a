from __future__ import annotations

import json

import numpy as np
import pytest
from retrace_pack.preprocessors.pose_keypoints import person_from_coco, read_frames, read_json, write_frames


def _flat(count: int, seed: int = 0, confidence: float = 0.9) -> list[float]:
    points = np.random.default_rng(seed).uniform(2, 90, (count, 3))
    points[:, 2] = confidence
    return [float(value) for value in points.reshape(-1)]


def _document(**parts: object) -> dict[str, object]:
    return {"people": [parts], "canvas_width": 100, "canvas_height": 200}


def test_what_is_written_reads_back():
    document = _document(
        pose_keypoints_2d=_flat(18),
        face_keypoints_2d=_flat(70, 1),
        hand_left_keypoints_2d=_flat(21, 2),
        hand_right_keypoints_2d=None,
    )
    frames = read_frames([document, {"people": [], "canvas_width": 5, "canvas_height": 6}])
    assert (frames[0].width, frames[0].height) == (100, 200) and frames[1].people == ()
    np.testing.assert_allclose(frames[0].people[0].body.reshape(-1), _flat(18), rtol=1e-6)
    written = write_frames(frames)
    assert written[0]["people"][0]["hand_right_keypoints_2d"] is None
    assert write_frames(read_json(json.dumps(written))) == written


def test_absent_null_and_empty_parts_are_the_same():
    person = read_frames(_document(pose_keypoints_2d=[], face_keypoints_2d=None))[0].people[0]
    assert (person.body, person.face, person.left_hand, person.right_hand) == (None,) * 4


def test_body_25_loses_the_middle_of_the_hips_and_the_feet():
    points = np.arange(75, dtype=np.float32).reshape(25, 3)
    body = read_frames(_document(pose_keypoints_2d=points.reshape(-1).tolist()))[0].people[0].body
    # Right hip, left ankle, right eye and left ear, by OpenPose's two tables.
    assert np.array_equal(body[[8, 13, 14, 17]], points[[9, 14, 15, 18]]) and len(body) == 18


def test_parts_of_the_canvas_become_pixels():
    body = np.random.default_rng(0).random((18, 3)).astype(np.float32)
    document = _document(pose_keypoints_2d=body.reshape(-1).tolist())
    np.testing.assert_allclose(read_frames(document)[0].people[0].body[:, :2], body[:, :2] * (100, 200), rtol=1e-6)
    document["people"].append({"pose_keypoints_2d": _flat(18)})
    np.testing.assert_allclose(read_frames(document)[0].people[0].body, body, rtol=1e-6)


def test_openposes_own_json_has_no_canvas():
    frame = read_json('{"version": 1.3, "people": [{"person_id": [-1]}]}')[0]
    assert (frame.width, frame.height) == (0, 0)


def test_coco_becomes_openpose_with_a_neck():
    points = np.arange(34, dtype=np.float32).reshape(17, 2)
    scores = np.linspace(0.1, 0.9, 17, dtype=np.float32)
    body = person_from_coco(points, scores).body
    assert np.array_equal(body[1], np.float32([*points[5:7].mean(0), scores[5]]))
    # nose, right shoulder, left wrist, right knee, right eye, left eye, right ear, left ear
    assert np.array_equal(body[[0, 2, 7, 9, 14, 15, 16, 17], :2], points[[0, 6, 9, 14, 2, 1, 4, 3]])


def test_coco_wholebody_has_hands_and_a_face():
    points = np.arange(266, dtype=np.float32).reshape(133, 2)
    person = person_from_coco(points, np.ones(133, np.float32))
    assert np.array_equal(person.face[:, :2], points[23:91])
    assert np.array_equal(person.left_hand[:, :2], points[91:112])
    assert np.array_equal(person.right_hand[:, :2], points[112:])
    with pytest.raises(ValueError, match="gives 21 points"):
        person_from_coco(points[:21], np.ones(21, np.float32))


@pytest.mark.parametrize(
    "data, match",
    [
        ([], "no frames"),
        ([{"animals": []}], 'frame 1 of the keypoints has no list "people"'),
        ({"people": 3}, 'no list "people"'),
        ({"people": ["x"]}, "person 1 is 'x'"),
        (_document(pose_keypoints_2d=_flat(17)), "person 1: pose_keypoints_2d has 17 points; it must have 18 or 25"),
        (_document(hand_left_keypoints_2d=[1, 2]), "hand_left_keypoints_2d is not a list of x, y"),
        (_document(pose_keypoints_2d=["a"] * 54), "pose_keypoints_2d is not a list"),
        (_document(pose_keypoints_2d=5), "person 1: pose_keypoints_2d is not a list of x, y"),
        (_document(pose_keypoints_2d=[10**400] * 54), "pose_keypoints_2d is not a list"),
        (_document(pose_keypoints_2d=[float("nan")] * 54), "not finite"),
        (_document(pose_keypoints_2d=[1e9] * 54), "a million pixels"),
        ({"people": [], "canvas_width": "wide"}, "canvas_width is 'wide'"),
        ({"people": [], "canvas_height": 1e9}, "canvas_height is"),
    ],
)
def test_other_data_is_refused(data, match):
    with pytest.raises(ValueError, match=match):
        read_frames(data)


@pytest.mark.parametrize(
    "text", ["{people: 1}", "[" * 100_000, '{"people": [{"pose_keypoints_2d": [' + "9" * 5000 + "]}]}"]
)
def test_text_that_is_not_json_is_refused(text):
    with pytest.raises(ValueError, match="the text is not JSON"):
        read_json(text)


@pytest.mark.parametrize("depth", [10, 100, 500, 900])
def test_lists_in_lists_are_refused(depth):
    nested = "[" * depth + "]" * depth
    with pytest.raises(ValueError, match=r"the text is not JSON|person 1 is \[\[|pose_keypoints_2d is not a list"):
        read_json(f'{{"people": [{nested}]}}')
    with pytest.raises(ValueError, match=r"the text is not JSON|pose_keypoints_2d (is not a list|has 0 points)"):
        read_json(f'{{"people": [{{"pose_keypoints_2d": [{nested}]}}]}}')


def test_numbers_of_400_digits_are_refused():
    with pytest.raises(ValueError, match="pose_keypoints_2d is not a list"):
        read_json(json.dumps(_document(pose_keypoints_2d=[10**399] * 54)))
