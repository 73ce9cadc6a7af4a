"""A host without OpenCV: every node exists, those that need OpenCV say how to install it, and all others work."""

import ast
import json
import sys
from pathlib import Path

import pytest
import torch
from node_call import run_node

ROOT = Path(__file__).resolve().parent.parent.parent
POSE = {"canvas_width": 8, "canvas_height": 8, "people": [{"pose_keypoints_2d": [1.0, 1.0, 1.0] * 18}]}


@pytest.fixture(autouse=True)
def without_opencv(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)


@pytest.fixture
def image():
    return torch.rand(1, 16, 16, 3)


def test_the_hint_nodes_say_what_to_install(image):
    from retrace_pack.nodes.estimate import RetraceDrawPose, RetraceEstimateDepth, RetraceEstimatePose
    from retrace_pack.nodes.hints import RetracePreprocessor

    calls = {
        "ControlNet Hint": lambda: run_node(RetracePreprocessor, image=image, method={"method": "blur"}),
        "Draw Pose": lambda: run_node(RetraceDrawPose, json=json.dumps(POSE)),
        "Estimate Depth": lambda: run_node(RetraceEstimateDepth, image=image, model="none"),
        "Estimate Pose": lambda: run_node(RetraceEstimatePose, image=image, model="none", detector="none"),
    }
    for name, call in calls.items():
        with pytest.raises(
            ValueError, match=rf"^{name}.*OpenCV is missing .*pip install --no-deps opencv-python-headless"
        ):
            call()


def test_pixel_composite_needs_it_for_poisson_alone(image):
    from retrace_pack.nodes.pixel_composite import RetracePixelComposite

    mask = torch.zeros(1, 16, 16)
    mask[:, 4:12, 4:12] = 1
    result = run_node(
        RetracePixelComposite, source=image, edited=1 - image, mask=mask, feather=3, match_colour=True
    ).args[0]
    assert torch.equal(result[mask == 0], image[mask == 0]) and not torch.equal(result, image)
    with pytest.raises(ValueError, match="^Pixel Composite: OpenCV is missing"):
        run_node(
            RetracePixelComposite,
            source=image,
            edited=1 - image,
            mask=mask,
            feather=3,
            match_colour=True,
            blend="poisson",
        )


def test_nothing_else_in_the_pack_imports_it():
    """Functions of `preprocessors` are called by the hint nodes; nodes that use one elsewhere are listed with theirs."""
    importers = set()
    for folder in ("attention", "host", "inversion", "measuring", "nodes", "samplers"):
        for path in (ROOT / folder).glob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.FunctionDef) and any(
                    isinstance(inner, ast.Import) and inner.names[0].name == "cv2" for inner in ast.walk(node)
                ):
                    importers.add(f"{folder}.{path.stem}.{node.name}")
    assert importers == {"nodes.opencv.require_opencv", "samplers.pixel_composite._cloned"}
