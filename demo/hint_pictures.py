"""The help pages' pictures for the nodes that make ControlNet hints: edges, normals, poses."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from picture_parts import Node, Picture, image, node, photographed

STANDING = [
    *(128, 40, 1, 128, 66, 1, 108, 67, 1, 101, 101, 1, 97, 136, 1, 148, 67, 1, 155, 101, 1, 159, 136, 1),
    *(116, 141, 1, 113, 192, 1, 112, 236, 1, 140, 141, 1, 143, 192, 1, 144, 236, 1),
    *(123, 34, 1, 133, 34, 1, 117, 38, 1, 139, 38, 1),
]
CHEERING = [
    *(128, 40, 1, 128, 66, 1, 108, 67, 1, 86, 42, 1, 70, 14, 1, 148, 67, 1, 172, 46, 1, 190, 18, 1),
    *(116, 141, 1, 98, 188, 1, 86, 234, 1, 140, 141, 1, 158, 188, 1, 170, 234, 1),
    *(123, 34, 1, 133, 34, 1, 117, 38, 1, 139, 38, 1),
]


def hint(method: str, **settings: Any) -> Node:  # noqa: ANN401  (JSON)
    """A ControlNet hint of the photo."""
    chosen = {f"method.{name}": value for name, value in settings.items()}
    return node("RetracePreprocessor", image=["photo", 0], method=method, resolution=0, **chosen)


def draw_pose(points: Sequence[float]) -> Node:
    """The skeleton of one person, drawn larger than the 256 x 256 pixels of its keypoints."""
    people = [{"pose_keypoints_2d": list(points)}]
    frame = json.dumps({"people": people, "canvas_width": 256, "canvas_height": 256})
    parts = {"body": True, "hands": True, "face": True, "wide_limbs": False}
    return node("RetraceDrawPose", json=frame, width=320, height=320, min_confidence=0.3, **parts)


HINTS = (
    Picture(
        "RetracePreprocessor",
        {
            **photographed("cube"),
            "canny": hint("canny", low_threshold=100, high_threshold=200, aperture=3, l2_gradient=False),
            "soft": hint("soft_edge", low=10, high=60, sigma=1, scales=3, softness=1.2, thin=True),
            "normal": hint("normal_map", relief=0.5, smoothing=1, background=0.1, convention="controlnet"),
        },
        (image("photo", "photo"), image("canny", "canny"), image("soft_edge", "soft"), image("normal_map", "normal")),
    ),
    Picture(
        "RetraceDrawPose",
        {"standing": draw_pose(STANDING), "cheering": draw_pose(CHEERING)},
        (image("standing", "standing"), image("cheering", "cheering")),
    ),
    # No trained pose model is available, so the picture shows the form of the hint, drawn from given keypoints.
    Picture(
        "RetraceEstimatePose",
        {"cheering": draw_pose(CHEERING)},
        (image("", "cheering"),),
        example={
            "photo": node("LoadImage", image="example.png"),
            "pose": node(
                "RetraceEstimatePose",
                image=["photo", 0],
                model="vitpose",
                detector="rtdetr",
                min_score=0.5,
                max_people=20,
                min_confidence=0.3,
            ),
            "show hint": node("PreviewImage", images=["pose", 0]),
        },
    ),
)
