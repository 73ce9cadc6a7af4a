"""RetraceEditImage in a real ComfyUI with the miniature: an edit, what is cached, strength, a mask, a refusal."""

import io
import re

import ball
import numpy as np
import pytest
from PIL import Image
from retrace_pack.batch.api import PromptFailedError
from tiny_models import photos

SIZE = (384, 256)
INVERT, EDIT = "easy.0.0.invert", "easy.0.0.edit"


@pytest.fixture(scope="module")
def photo(server):
    """The photo, larger than the model works and no square, as a user would upload it."""
    picture = photos.photo("ball", SIZE[0])[64:320]
    Image.fromarray(picture).save(server.base / "input" / "large.png")
    return picture


@pytest.fixture
def prompt(photo):
    inputs = {
        "model": ["checkpoint", 0], "clip": ["checkpoint", 1], "vae": ["checkpoint", 2], "image": ["load", 0],
        "before": ball.BEFORE, "after": ball.AFTER, "change": "auto", "strength": 1.0, "seed": 0, "steps": 20, "cfg": 0.0,
        "working_size": 128,
    }  # fmt: skip
    return {
        "checkpoint": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "tiny_sd15.safetensors"}},
        "load": {"class_type": "LoadImage", "inputs": {"image": "large.png"}},
        "easy": {"class_type": "RetraceEditImage", "inputs": inputs},
        "save": {"class_type": "SaveImage", "inputs": {"images": ["easy", 0], "filename_prefix": "easy"}},
        "both": {"class_type": "SaveImage", "inputs": {"images": ["easy", 1], "filename_prefix": "both"}},
        "white": {"class_type": "MaskToImage", "inputs": {"mask": ["easy", 2]}},
        "mask": {"class_type": "SaveImage", "inputs": {"images": ["white", 0], "filename_prefix": "mask"}},
    }


def run(server, prompt, **changes):
    """(the pictures of `save`, those of `mask`, the ids of the nodes that ran, the result)"""
    prompt["easy"]["inputs"].update(changes)
    ran = []

    def note(event):
        if event.kind == "executing" and event.data.get("node"):
            ran.append(event.data["node"])

    result = server.run(prompt, note)
    saved, masks = (
        [np.asarray(Image.open(io.BytesIO(png)).convert("RGB")) for png in server.images(result, name)]
        for name in ("save", "mask")
    )
    return saved, masks, ran, result


def test_a_color_is_changed_at_the_photos_size_and_the_rest_is_the_photos_own(server, prompt, photo):
    (edited,), (mask,), ran, result = run(server, prompt, working_size=256)
    assert edited.shape == photo.shape and mask.shape == photo.shape
    assert {INVERT, EDIT} <= set(ran)
    kept = mask[..., 0] == 0
    assert kept.mean() > 0.2 and (edited[kept] == photo[kept]).all()
    inside = mask[..., 0] > 250
    red, green, blue = edited[inside].astype(float).mean(0)
    assert inside.mean() > 0.02 and blue > red + 20
    assert any("color or material (read from the sentences)" in line for line in result.outputs["easy"]["text"])
    (both,) = server.images(result, "both")
    assert Image.open(io.BytesIO(both)).size == (2 * SIZE[0], SIZE[1])


def test_another_sentence_or_seed_does_not_invert_again(server, prompt):
    """As from one run of a user to the next: ComfyUI drops what a run did not need, such as the nodes inside a cached one."""
    *_, ran, _ = run(server, prompt, steps=12)
    assert INVERT in ran
    *_, ran, _ = run(server, prompt, after=ball.BEFORE.replace("red", "yellow"))
    assert EDIT in ran and INVERT not in ran and "easy.0.0.encode" not in ran
    *_, ran, _ = run(server, prompt, seed=7)
    assert EDIT not in ran and INVERT not in ran
    *_, ran, _ = run(server, prompt, change="everything", steps=10)
    assert INVERT in ran
    *_, ran, _ = run(server, prompt, seed=8)
    assert INVERT in ran and "easy.0.0.encode" not in ran


def test_strength_0_is_the_photo_and_lines_are_edits(server, prompt, photo):
    lines = f"{ball.AFTER}\n{ball.CUBE}"
    saved, masks, ran, _ = run(server, prompt, strength=0.0, after=lines)
    assert len(saved) == len(masks) == 2 and INVERT not in ran
    assert all((each == photo).all() for each in saved) and not any(mask.any() for mask in masks)
    saved, masks, _, _ = run(server, prompt, strength=1.0)
    assert len(saved) == 2 and (saved[0] != saved[1]).any()
    for picture, mask in zip(saved, masks, strict=True):
        kept = mask[..., 0] == 0
        assert (picture[kept] == photo[kept]).all() and (picture != photo).any()
    weaker, same, ran, _ = run(server, prompt, strength=0.4)
    assert all((each == mask).all() for each, mask in zip(same, masks, strict=True)) and (weaker[0] != saved[0]).any()
    assert INVERT not in ran and EDIT not in ran and "easy.0.0.weaker_edit" in ran


def test_a_small_mask_is_edited_in_a_crop_around_it(server, prompt, photo):
    prompt["spot"] = {"class_type": "SolidMask", "inputs": {"value": 1.0, "width": 40, "height": 30}}
    prompt["none"] = {"class_type": "SolidMask", "inputs": {"value": 0.0, "width": SIZE[0], "height": SIZE[1]}}
    prompt["hole"] = {"class_type": "MaskComposite", "inputs": {
        "destination": ["none", 0], "source": ["spot", 0], "x": 180, "y": 120, "operation": "add",
    }}  # fmt: skip
    (edited,), (mask,), _, result = run(server, prompt, mask=["hole", 0], change="object or shape")
    outside = np.ones(photo.shape[:2], bool)
    outside[120:150, 180:220] = False
    assert (edited[outside] == photo[outside]).all() and not mask[outside].any() and (edited != photo).any()
    ((width, height),) = re.findall(r"at (\d+) x (\d+)", " ".join(result.outputs["easy"]["text"]))
    assert 0.75 <= int(width) * int(height) / 128**2 <= 1.5 and int(width) / int(height) < 1.3


def test_a_refusal_comes_before_anything_runs(server, prompt):
    with pytest.raises(PromptFailedError, match="Edit Image: after says the same as before") as failure:
        run(server, prompt, after=ball.BEFORE.replace(",", "").capitalize())
    assert failure.value.event["node_id"] == "easy"
