"""The ControlNet Hint node inside ComfyUI: its inputs are the methods' parameters, its call is the batch runner."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from node_call import run_node


@pytest.fixture
def node():
    from retrace_pack.nodes.hints import RetracePreprocessor

    return RetracePreprocessor


def _options(node) -> dict[str, list]:
    return {option.key: option.inputs for option in node.define_schema().inputs[1].options}


def test_every_method_is_offered_with_its_parameters_and_defaults(node):
    from retrace_pack.preprocessors.methods import METHODS

    options = _options(node)
    assert list(options) == list(METHODS)
    for name, inputs in options.items():
        parameters = dict(list(inspect.signature(METHODS[name]).parameters.items())[1:])
        assert [entry.id for entry in inputs] == list(parameters), name
        for entry in inputs:
            if entry.id != "mask":
                offered = entry.default if entry.default is not None else entry.options[0]
                assert offered == parameters[entry.id].default, (name, entry.id)


def test_every_input_and_output_has_a_tooltip():
    from retrace_pack.nodes import NODES

    schemas = [node.define_schema() for node in NODES]
    hints = [schema for schema in schemas if schema.category == "Retrace/Hints"]
    assert len(hints) >= 4
    for schema in hints:
        nested = [
            entry
            for option in getattr(schema.inputs[1], "options", None) or []
            if hasattr(option, "inputs")
            for entry in option.inputs
        ]
        for entry in (*schema.inputs, *nested, *schema.outputs):
            assert entry.tooltip, (schema.node_id, entry)
        assert schema.description and schema.search_aliases


def test_the_limits_of_every_input_are_accepted_or_refused_in_words(node):
    image = torch.rand(1, 20, 24, 3)
    for name, inputs in _options(node).items():
        for entry in inputs:
            for value in (getattr(entry, "min", None), getattr(entry, "max", None)):
                if value is not None:
                    mask = {"mask": torch.ones(1, 20, 24)} if name == "inpaint" else {}
                    try:
                        hint = run_node(node, image=image, method={"method": name, entry.id: value, **mask}).args[0]
                        assert hint.shape == image.shape
                    except ValueError as refusal:
                        assert str(refusal).startswith(f"ControlNet Hint: method {name}: "), refusal


def test_comfyui_hands_the_chosen_method_its_inputs(node):
    from comfy_api.latest import _io

    live = {
        "image": None,
        "method": "canny",
        "method.low_threshold": 30.0,
        "method.high_threshold": 90.0,
        "resolution": 0,
    }
    live |= {"method.aperture": 5, "method.l2_gradient": True}
    _, _, v3_data = _io.get_finalized_class_inputs(node.INPUT_TYPES(), live)
    assert _io.build_nested_inputs(live, v3_data)["method"] == {
        "method": "canny", "low_threshold": 30.0, "high_threshold": 90.0, "aperture": 5, "l2_gradient": True,
    }  # fmt: skip


def test_canny_is_opencvs(node):
    import cv2

    image = (torch.rand(2, 6, 8, 3).repeat_interleave(9, 1).repeat_interleave(9, 2) * 255).round() / 255
    hint = run_node(node, image=image, method={"method": "canny", "low_threshold": 50.0, "high_threshold": 120.0}).args[
        0
    ]
    assert hint.dtype == torch.float32 and hint.shape == image.shape
    for picture, drawn in zip(image, hint, strict=True):
        expected = cv2.Canny(np.rint(picture.numpy() * 255).astype(np.uint8), 50, 120)
        assert np.array_equal(drawn[..., 0].numpy() * 255, expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64, torch.uint8])
def test_every_dtype_is_read(node, dtype):
    levels = torch.arange(256).reshape(1, 16, 16, 1)
    image = levels.to(dtype) if dtype == torch.uint8 else (levels / 255).to(dtype)
    hint = run_node(node, image=image, method={"method": "recolor_intensity"}).args[0]
    assert (hint[..., 0] * 255 - levels[..., 0]).abs().max() <= (1.0 if dtype == torch.bfloat16 else 1e-3)


def test_inpaint_takes_its_mask_and_resolution_its_effect(node):
    image, mask = torch.rand(2, 20, 30, 3), torch.zeros(1, 20, 30)
    mask[:, :10] = 1.0
    hint = run_node(
        node, image=image, method={"method": "inpaint", "mask": mask, "threshold": 0.5, "fill": "minus_one"}
    ).args[0]
    assert (hint[:, :10] == -1).all() and torch.equal(hint[:, 10:], image[:, 10:])
    hint = run_node(node, image=image, method={"method": "inpaint", "mask": mask}, resolution=40).args[0]
    assert hint.shape == (2, 40, 60, 3) and (hint[:, :19] == -1).all() and (hint[:, 21:] >= 0).all()


def test_errors_name_the_node_and_the_method(node):
    image = torch.zeros(2, 8, 8, 5)
    with pytest.raises(ValueError, match="^ControlNet Hint: method blur: image 1 of 2: an image of shape"):
        run_node(node, image=image, method={"method": "blur"})


def test_progress_is_reported_and_an_interruption_stops(node, monkeypatch):
    import comfy.model_management as management
    import comfy.utils

    reported = []
    monkeypatch.setattr(comfy.utils.ProgressBar, "update", lambda bar, value: reported.append((bar.total, value)))
    run_node(node, image=torch.rand(3, 8, 8, 3), method={"method": "blur"})
    assert reported == [(3, 1)] * 3
    management.interrupt_current_processing(True)
    try:
        with pytest.raises(management.InterruptProcessingException):
            run_node(node, image=torch.rand(3, 8, 8, 3), method={"method": "blur"})
    finally:
        management.interrupt_current_processing(False)
    assert len(reported) == 3


def test_importing_the_nodes_imports_neither_opencv_nor_transformers():
    root = Path(__file__).resolve().parents[2]
    program = f"""
import importlib, importlib.util, sys
sys.path.insert(0, {os.environ["COMFYUI_PATH"]!r})
from comfy.cli_args import args
args.cpu = True
import comfy_api.latest, comfy.model_patcher, folder_paths
before = set(sys.modules)
root = {str(root)!r}
spec = importlib.util.spec_from_file_location("pack", root + "/__init__.py", submodule_search_locations=[root])
sys.modules["pack"] = module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
importlib.import_module("pack.nodes.hints")
importlib.import_module("pack.nodes.estimate").RetraceEstimateDepth.define_schema()
added = set(sys.modules) - before
assert "cv2" not in added and "transformers" not in added, "imported too early"
"""
    subprocess.run([sys.executable, "-c", program], check=True)
