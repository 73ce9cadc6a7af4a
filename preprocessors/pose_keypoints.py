"""OpenPose keypoints: read JSON or another pack's POSE_KEYPOINT, and write POSE_KEYPOINT."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import Any

import numpy as np

from .pixels import Array

BODY_POINTS = 18
HAND_POINTS = 21
FACE_POINTS = 70

# BODY_25 of OpenPose has the mid-hip at index 8 and the feet at the end.
BODY_25_TO_BODY_18 = (0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18)
# COCO has no neck: -1 stands for the midpoint of the shoulders.
COCO_17_TO_BODY_18 = (0, -1, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3)
LEFT_SHOULDER, RIGHT_SHOULDER = 5, 6


@dataclass(frozen=True)
class Person:
    """Keypoints of one person, each part float32 [points, 3] (x and y in pixels, confidence in 0..1) or None.

    `body` has 18 points in OpenPose's COCO order, a hand 21, and a face 68 or 70.
    """

    body: Array | None = None
    left_hand: Array | None = None
    right_hand: Array | None = None
    face: Array | None = None


@dataclass(frozen=True)
class PoseFrame:
    """The people in one picture; width and height in pixels, 0 if unknown (OpenPose's JSON does not store them)."""

    people: tuple[Person, ...]
    width: int
    height: int


def read_json(text: str) -> list[PoseFrame]:
    """Frames from JSON text: one OpenPose document, or a list of them.

    Raises ValueError if the text is not JSON, or if `read_frames` does.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the text is not JSON ({error}); paste the output of OpenPose or of a pose node.") from error
    return read_frames(data)


def read_frames(data: Any) -> list[PoseFrame]:  # noqa: ANN401
    """Frames from parsed JSON or a POSE_KEYPOINT.

    Args:
        data: a document `{"people": [...], "canvas_width": w, "canvas_height": h}` or a list of them. A person
            holds flat lists x, y, confidence, ... under `pose_keypoints_2d` (18 points, or 25 for BODY_25),
            `hand_left_keypoints_2d`, `hand_right_keypoints_2d` (21) and `face_keypoints_2d` (68 or 70); each may be absent,
            null or empty. Coordinates are pixels, unless all of a frame's are in 0..1: those are fractions of the canvas.

    Raises:
        ValueError: if the structure or the number of points is another (animal poses, for example), or a value is not finite.
    """
    documents = data if isinstance(data, list) else [data]
    if not documents:
        raise ValueError("the keypoints contain no frames; run the pose node on at least one image.")
    return [_frame(document, index) for index, document in enumerate(documents)]


def write_frames(frames: Sequence[PoseFrame]) -> list[dict[str, Any]]:
    """A POSE_KEYPOINT: one document per frame, coordinates in pixels, null for missing parts."""
    return [
        {
            "people": [
                {
                    "pose_keypoints_2d": _flat(person.body),
                    "face_keypoints_2d": _flat(person.face),
                    "hand_left_keypoints_2d": _flat(person.left_hand),
                    "hand_right_keypoints_2d": _flat(person.right_hand),
                }
                for person in frame.people
            ],
            "canvas_width": frame.width,
            "canvas_height": frame.height,
        }
        for frame in frames
    ]


def person_from_coco(points: Array, scores: Array) -> Person:
    """A person from the 17 points of COCO or the 133 of COCO-WholeBody (17 body, 6 feet, 68 face, 21 left and 21 right hand).

    Args:
        points: [17 or 133, 2], in pixels.
        scores: [17 or 133], confidences.

    Raises:
        ValueError: if there is another number of points.
    """
    table = np.concatenate([points, scores.reshape(-1, 1)], axis=1).astype(np.float32)
    if len(table) not in (17, 133):
        raise ValueError(
            f"the pose model gives {len(table)} points; choose one with COCO's 17 or COCO-WholeBody's 133."
        )
    shoulders = table[[LEFT_SHOULDER, RIGHT_SHOULDER]]
    neck = np.append(shoulders[:, :2].mean(axis=0), shoulders[:, 2].min())
    body = np.stack([neck if index < 0 else table[index] for index in COCO_17_TO_BODY_18]).astype(np.float32)
    if len(table) == 17:
        return Person(body)
    return Person(body, left_hand=table[91:112], right_hand=table[112:133], face=table[23:91])


def _frame(document: Any, index: int) -> PoseFrame:  # noqa: ANN401
    where = f"frame {index + 1} of the keypoints"
    if not isinstance(document, Mapping) or not isinstance(document.get("people"), list):
        raise ValueError(
            f'{where} has no list "people"; give OpenPose\'s format: {{"people": [{{"pose_keypoints_2d": [x, y, '
            'confidence, ...]}], "canvas_width": w, "canvas_height": h}. (Animal poses are not supported.)'
        )
    width, height = (_side(document.get(key), key, where) for key in ("canvas_width", "canvas_height"))
    people = tuple(_person(person, f"{where}, person {n + 1}") for n, person in enumerate(document["people"]))
    parts = [part for person in people for part in _parts(person)]
    if width and height and parts and max(np.abs(part[:, :2]).max() for part in parts) <= 1.0:
        for part in parts:
            part[:, :2] *= (width, height)
    return PoseFrame(people, width, height)


def _person(person: Any, where: str) -> Person:  # noqa: ANN401
    if not isinstance(person, Mapping):
        raise ValueError(f"{where} is {reprlib.repr(person):.60}; it must be an object with pose_keypoints_2d.")
    body = _points(person, "pose_keypoints_2d", (BODY_POINTS, 25), where)
    if body is not None and len(body) == 25:
        body = body[list(BODY_25_TO_BODY_18)]
    hands = [_points(person, f"hand_{side}_keypoints_2d", (HAND_POINTS,), where) for side in ("left", "right")]
    return Person(body, hands[0], hands[1], _points(person, "face_keypoints_2d", (68, FACE_POINTS), where))


def _parts(person: Person) -> list[Array]:
    return [part for part in (person.body, person.left_hand, person.right_hand, person.face) if part is not None]


def _points(person: Mapping[str, Any], key: str, counts: tuple[int, ...], where: str) -> Array | None:
    values = person.get(key)
    if values is None or (isinstance(values, Sized) and len(values) == 0):
        return None
    try:
        table = np.array(values, np.float32).reshape(-1, 3)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(
            f"{where}: {key} is not a list of x, y, confidence, x, y, confidence, ... ({error})."
        ) from error
    if len(table) not in counts:
        raise ValueError(f"{where}: {key} has {len(table)} points; it must have {' or '.join(map(str, counts))}.")
    if not np.isfinite(table).all() or np.abs(table).max() > 1e6:
        raise ValueError(f"{where}: {key} has a value that is not finite or exceeds a million pixels.")
    return table


def _side(value: Any, key: str, where: str) -> int:  # noqa: ANN401
    if value is None:
        return 0
    if not isinstance(value, (int, float)) or not 0 <= value <= 16384:
        raise ValueError(f"{where}: {key} is {reprlib.repr(value):.60}; it must be a number of pixels from 1 to 16384.")
    return int(value)


def _flat(part: Array | None) -> list[float] | None:
    return None if part is None else [float(value) for value in part.reshape(-1)]
