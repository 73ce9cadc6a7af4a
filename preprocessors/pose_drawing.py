"""The skeleton drawing that ControlNet's openpose models were trained on."""

from __future__ import annotations

import colorsys
import math

import numpy as np

from .pixels import Array
from .pose_keypoints import PoseFrame

# The two joints of each limb, in drawing order. Limb i and joint i both have color i of the list below.
LIMBS = (
    (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10),
    (1, 11), (11, 12), (12, 13), (1, 0), (0, 14), (14, 16), (0, 15), (15, 17),
)  # fmt: skip
COLORS = (
    (255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0), (0, 255, 0), (0, 255, 85),
    (0, 255, 170), (0, 255, 255), (0, 170, 255), (0, 85, 255), (0, 0, 255), (85, 0, 255), (170, 0, 255), (255, 0, 255),
    (255, 0, 170), (255, 0, 85),
)  # fmt: skip
BONES = tuple((0 if joint % 4 == 1 else joint - 1, joint) for joint in range(1, 21))
BONE_COLORS = tuple(tuple(255.0 * c for c in colorsys.hsv_to_rgb(n / len(BONES), 1.0, 1.0)) for n in range(len(BONES)))
LIMB_BRIGHTNESS = 0.6
LIMB_WIDTH = 4
JOINT_RADIUS = 4
FACE_RADIUS = 3


def draw_pose(
    frame: PoseFrame,
    width: int = 0,
    height: int = 0,
    min_confidence: float = 0.3,
    body: bool = True,
    hands: bool = True,
    face: bool = True,
    wide_limbs: bool = False,
) -> Array:
    """Draw the people of one frame on black.

    Source: openpose of ControlNet 1.1 (colors, order, line widths), hands and faces included.

    Args:
        frame: keypoints in pixels of the frame's own canvas.
        width, height: size of the drawing; 0 uses the canvas size. Another size scales the keypoints, not the strokes.
        min_confidence: points below it are left out, as are all points of confidence 0.
        body, hands, face: which parts to draw.
        wide_limbs: scale the limbs' width with the drawing, for xinsir's SDXL openpose ControlNet.

    Returns:
        [height, width, 3] uint8.

    Raises:
        ValueError: if no size is known, or if min_confidence is outside 0..1.
    """
    if not 0.0 <= min_confidence <= 1.0:
        raise ValueError(f"min_confidence is {min_confidence}; it must lie between 0 and 1.")
    width, height = width or frame.width, height or frame.height
    if not width or not height:
        raise ValueError("the keypoints do not include the size of their picture; set width and height.")
    canvas = np.zeros((height, width, 3), np.uint8)
    scale = np.array([width / (frame.width or width), height / (frame.height or height)], np.float32)
    longest = max(width, height)
    limb_width = LIMB_WIDTH * (min(2 + longest // 1000, 7) if wide_limbs and longest >= 500 else 1)

    def points(part: Array | None) -> list[tuple[float, float] | None]:
        if part is None:
            return []
        seen = (part[:, 2] > 0.0) & (part[:, 2] >= min_confidence)
        return [
            (float(x), float(y)) if shown else None for (x, y), shown in zip(part[:, :2] * scale, seen, strict=True)
        ]

    for person in frame.people:
        if body:
            _draw_body(canvas, points(person.body), limb_width)
        if hands:
            _draw_hand(canvas, points(person.left_hand))
            _draw_hand(canvas, points(person.right_hand))
        if face:
            _draw_face(canvas, points(person.face))
    return canvas


def _draw_body(canvas: Array, points: list[tuple[float, float] | None], limb_width: int) -> None:
    import cv2

    if not points:
        return
    for (start, end), color in zip(LIMBS, COLORS, strict=False):
        a, b = points[start], points[end]
        if a is None or b is None:
            continue
        middle = (int((a[0] + b[0]) / 2), int((a[1] + b[1]) / 2))
        angle = int(math.degrees(math.atan2(a[1] - b[1], a[0] - b[0])))
        polygon = cv2.ellipse2Poly(middle, (int(math.dist(a, b) / 2), limb_width), angle, 0, 360, 1)
        cv2.fillConvexPoly(canvas, np.array(polygon), [int(c * LIMB_BRIGHTNESS) for c in color])
    for point, color in zip(points, COLORS, strict=True):
        if point is not None:
            cv2.circle(canvas, (int(point[0]), int(point[1])), JOINT_RADIUS, color, -1)


def _draw_hand(canvas: Array, points: list[tuple[float, float] | None]) -> None:
    import cv2

    pixels = [_inside(point) for point in points]
    for (start, end), color in zip(BONES, BONE_COLORS, strict=True):
        a, b = (pixels[start], pixels[end]) if pixels else (None, None)
        if a is not None and b is not None:
            cv2.line(canvas, a, b, color, 2)
    for pixel in pixels:
        if pixel is not None:
            cv2.circle(canvas, pixel, JOINT_RADIUS, (0, 0, 255), -1)


def _draw_face(canvas: Array, points: list[tuple[float, float] | None]) -> None:
    import cv2

    for point in points:
        pixel = _inside(point)
        if pixel is not None:
            cv2.circle(canvas, pixel, FACE_RADIUS, (255, 255, 255), -1)


def _inside(point: tuple[float, float] | None) -> tuple[int, int] | None:
    """A point's pixel; None in the first row or column, which is how detectors mark a point as not seen."""
    if point is None or int(point[0]) <= 0 or int(point[1]) <= 0:
        return None
    return int(point[0]), int(point[1])
