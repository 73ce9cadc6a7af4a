"""What all methods have in common, and a golden picture of each (made once, then inspected)."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from retrace_pack.preprocessors.batch import hint_batch
from retrace_pack.preprocessors.methods import METHODS, bind

GOLDEN = Path(__file__).parent / "golden"
ROOT = Path(__file__).resolve().parents[2]


def _read(name: str) -> np.ndarray:
    picture = cv2.imread(str(GOLDEN / f"{name}.png"))
    assert picture is not None, f"{name}.png is missing"
    return picture[:, :, ::-1].copy()


def _hints(name: str, images: np.ndarray, **options: object) -> np.ndarray:
    if name == "inpaint":
        height, width = images.shape[1:3]
        y, x = np.mgrid[0:height, 0:width]
        mask = np.hypot(x - 0.44 * width, y - 0.66 * height) < 0.24 * height
        options["masks"] = mask[None].astype(np.float32)
    return hint_batch(images, bind(name), **options)


@pytest.fixture(params=METHODS)
def method(request) -> str:
    return request.param


def test_looks_as_it_did_when_it_was_looked_at(method):
    scene = _read("depth" if method == "normal_map" else "scene")
    hint = np.rint(_hints(method, scene[None])[0].clip(0, 1) * 255)
    difference = np.abs(hint - _read(method))
    # Room for another version's rounding, not for another picture.
    assert difference.mean() < 0.5 and (difference > 4).mean() < 0.005


@pytest.mark.parametrize("height, width", [(1, 1), (7, 1), (31, 50), (64, 64)])
def test_size_dtype_and_range(method, height, width):
    images = np.random.default_rng(0).random((1, height, width, 3), np.float32)
    hints = _hints(method, images)
    assert hints.shape == (1, height, width, 3) and hints.dtype == np.float32
    assert hints.max() <= 1.0 and hints.min() >= (-1.0 if method == "inpaint" else 0.0)


def test_a_batch_is_a_loop_and_twice_is_the_same(method):
    images = np.stack([_read("scene")[:90, 10 * n : 10 * n + 120] for n in range(3)]) / np.float32(255)
    hints = _hints(method, images)
    for image, hint in zip(images, hints, strict=True):
        assert np.array_equal(_hints(method, image[None])[0], hint)
    assert np.array_equal(_hints(method, images), hints)
    assert len({hint.tobytes() for hint in hints}) > 1


def test_every_form_of_an_image_gives_the_same_hint(method):
    gray = _read("scene")[:60, :80, 1].copy()
    rgb = np.repeat(gray[:, :, None], 3, axis=2)
    opaque = np.concatenate([rgb, np.full_like(rgb[:, :, :1], 255)], axis=2)
    expected = _hints(method, rgb[None])
    for form in (gray, gray[:, :, None], opaque, rgb / np.float32(255), rgb.astype(np.float64) / 255):
        np.testing.assert_allclose(_hints(method, form[None]), expected, atol=2e-6)


def test_the_image_is_not_changed(method):
    image = np.random.default_rng(0).random((1, 40, 50, 3), np.float32)
    before = image.copy()
    _hints(method, image)
    assert np.array_equal(image, before)


def test_nan_is_refused(method):
    image = np.full((1, 9, 9, 3), np.nan, np.float32)
    with pytest.raises(ValueError, match="NaN"):
        _hints(method, image)


def test_every_method_is_bound_with_its_own_parameters(method):
    assert next(iter(inspect.signature(METHODS[method]).parameters)) == "image"
    with pytest.raises(TypeError):
        bind(method, nonsense=1)(np.zeros((4, 4, 3), np.uint8))


def test_unknown_methods_are_refused():
    with pytest.raises(ValueError, match="there is no method 'hed'; choose one of canny,"):
        bind("hed")


def test_importing_the_methods_imports_neither_opencv_nor_torch():
    program = f"""
import importlib, importlib.util, sys
root = {str(ROOT)!r}
spec = importlib.util.spec_from_file_location("pack", root + "/__init__.py", submodule_search_locations=[root])
sys.modules["pack"] = module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
for name in ("methods", "batch", "depth", "pose_drawing", "pose_keypoints"):
    importlib.import_module("pack.preprocessors." + name)
assert not {{"cv2", "torch", "transformers"}} & set(sys.modules), "imported too early"
"""
    subprocess.run([sys.executable, "-c", program], check=True)
