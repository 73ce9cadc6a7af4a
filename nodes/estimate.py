"""Poses and depth: skeletons drawn from keypoints, and estimates by the user's own transformers models."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io

from ..host.images import as_array, as_image
from ..host.report import frame_progress
from ..host.transformers_models import (
    DEPTH,
    DETECTION,
    POSE,
    ModelKind,
    check_folder,
    estimate_depths,
    estimate_poses,
    load_network,
    model_names,
)
from ..preprocessors.batch import MAX_SIDE, render_batch
from ..preprocessors.pose_drawing import draw_pose
from ..preprocessors.pose_keypoints import read_frames, read_json, write_frames
from .hints import choice, decimal, flag, whole
from .node import RetraceNode
from .opencv import require_opencv

NO_MODEL = "(no model found: see the help)"
WHOLE_IMAGE = "(none: each image is one person)"
STRETCHES = ("each image", "whole batch")
PoseKeypoint = io.Custom("POSE_KEYPOINT")


def _model_input(name: str, kind: ModelKind, tooltip: str, *others: str) -> io.Input:
    names = [*model_names(kind), *others]
    return io.Combo.Input(name, options=names or [NO_MODEL], tooltip=f"{tooltip}: a folder in models/transformers.")


def _refusal(node: type[RetraceNode], kind: ModelKind, name: str | None) -> str | None:
    """The reason why the model cannot be loaded, before anything runs; a linked name is not known yet."""
    if name is None:
        return None
    try:
        check_folder(kind, name)
    except ValueError as error:
        return f"{node.title()}: {error}"
    return None


class RetraceDrawPose(RetraceNode):
    """Schema and call of `preprocessors.pose_drawing.draw_pose`."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RetraceDrawPose",
            display_name="Draw Pose (Retrace)",
            category="Retrace/Hints",
            description=(
                "Draws OpenPose keypoints (body, hands, face) as the skeleton image that openpose ControlNets were "
                "trained on. Takes JSON text, or the keypoints of any pose node."
            ),
            search_aliases=["openpose", "dwpose", "skeleton", "keypoints", "pose json", "render pose"],
            inputs=[
                PoseKeypoint.Input("keypoints", optional=True, tooltip="From a pose node; json must be empty then."),
                io.String.Input("json", default="", multiline=True, tooltip="OpenPose JSON: one document, or a list "
                                                                            "with one for each picture."),
                whole("width", 0, 0, MAX_SIDE, "Size of the hint; 0 takes the canvas size from the keypoints."),
                whole("height", 0, 0, MAX_SIDE, "Size of the hint; 0 takes the canvas size from the keypoints."),
                decimal("min_confidence", 0.3, 0, 1, "Points with a lower confidence are left out."),
                flag("body", True, "Draw limbs and joints."),
                flag("hands", True, "Draw hands, if the keypoints include them."),
                flag("face", True, "Draw the face, if the keypoints include it."),
                flag("wide_limbs", False, "Limbs whose width grows with the image, for xinsir's SDXL openpose "
                                          "ControlNet."),
            ],
            outputs=[io.Image.Output("hint", tooltip="The skeletons on black, for Apply ControlNet.")],
        )  # fmt: skip

    @classmethod
    def execute(
        cls,
        json: str,
        width: int,
        height: int,
        min_confidence: float,
        body: bool,
        hands: bool,
        face: bool,
        wide_limbs: bool,
        keypoints: Any = None,  # noqa: ANN401
    ) -> io.NodeOutput:
        if (keypoints is None) == (not json.strip()):
            given = "neither" if keypoints is None else "both"
            raise ValueError(f"give either keypoints or json; {given} came.")
        require_opencv()
        frames = read_json(json) if keypoints is None else read_frames(keypoints)
        hints = render_batch(
            len(frames),
            lambda index: draw_pose(frames[index], width, height, min_confidence, body, hands, face, wide_limbs),
            frame_progress(len(frames)),
        )
        return io.NodeOutput(as_image(hints))


class RetraceEstimateDepth(RetraceNode):
    """Schema and call of `host.transformers_models.estimate_depths`."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RetraceEstimateDepth",
            display_name="Estimate Depth (Retrace)",
            category="Retrace/Hints",
            description=(
                "Estimates a depth map (near is white) with a Depth Anything or DPT model that you put into "
                "models/transformers. Nothing is downloaded. The hint has the image's size."
            ),
            search_aliases=["depth anything", "midas", "dpt", "depth map", "zoe", "depth preprocessor"],
            inputs=[
                io.Image.Input("image", tooltip="Pictures of any size."),
                _model_input("model", DEPTH, "Depth Anything or DPT"),
                choice("stretch", list(STRETCHES), "What is rescaled to the range from black to white; whole batch "
                                                   "avoids flicker."),
            ],
            outputs=[io.Image.Output("depth", tooltip="Depth; near is white. Also works with ControlNet Hint's "
                                                      "normal_map.")],
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, model: str | None) -> bool | str:
        return _refusal(cls, DEPTH, model) or True

    @classmethod
    def execute(cls, image: torch.Tensor, model: str, stretch: str) -> io.NodeOutput:
        require_opencv()
        network = load_network(DEPTH, model)
        depths = estimate_depths(network, as_array(image), stretch == STRETCHES[1], frame_progress(len(image)))
        return io.NodeOutput(as_image(depths))


class RetraceEstimatePose(RetraceNode):
    """Schema and call of `host.transformers_models.estimate_poses`."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RetraceEstimatePose",
            display_name="Estimate Pose (Retrace)",
            category="Retrace/Hints",
            description=(
                "Estimates poses with a ViTPose model and an RT-DETR person detector that you put into "
                "models/transformers, and draws the skeletons. Nothing is downloaded."
            ),
            search_aliases=["openpose", "dwpose", "vitpose", "pose preprocessor", "keypoints", "skeleton"],
            inputs=[
                io.Image.Input("image", tooltip="Pictures of any size."),
                _model_input("model", POSE, "ViTPose"),
                _model_input("detector", DETECTION, "RT-DETR, which finds the people", WHOLE_IMAGE),
                decimal("min_score", 0.5, 0, 1, "Minimum score for a detected person."),
                whole("max_people", 20, 1, 1000, "Maximum number of people in an image, highest scores first."),
                decimal("min_confidence", 0.3, 0, 1, "Points with a lower confidence are not drawn."),
            ],
            outputs=[
                io.Image.Output("hint", tooltip="The skeletons on black, for Apply ControlNet."),
                PoseKeypoint.Output("keypoints", tooltip="OpenPose keypoints, for Draw Pose and other packs."),
            ],
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, model: str | None, detector: str | None) -> bool | str:
        found = None if detector == WHOLE_IMAGE else _refusal(cls, DETECTION, detector)
        return _refusal(cls, POSE, model) or found or True

    @classmethod
    def execute(
        cls, image: torch.Tensor, model: str, detector: str, min_score: float, max_people: int, min_confidence: float
    ) -> io.NodeOutput:
        require_opencv()
        finder = None if detector == WHOLE_IMAGE else load_network(DETECTION, detector)
        network = load_network(POSE, model)
        frames = estimate_poses(finder, network, as_array(image), min_score, max_people, frame_progress(len(image)))
        hints = render_batch(len(frames), lambda index: draw_pose(frames[index], min_confidence=min_confidence))
        return io.NodeOutput(as_image(hints), write_frames(frames))
