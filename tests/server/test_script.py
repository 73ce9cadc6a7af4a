"""scripts/edit_photo.py against a real ComfyUI: the edit arrives, progress is reported, errors carry ComfyUI's own message."""

import asyncio
import importlib.util
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ball
import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
SETTINGS = {
    "checkpoint": "tiny_sd15.safetensors",
    "source": ball.BEFORE,
    "target": ball.AFTER,
    "size": 256,
    "steps": 20,
    "cfg": 3.0,
}


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("edit_photo", ROOT / "scripts" / "edit_photo.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def in_a_thread(coroutine):
    """Run in a thread: an earlier browser test in this process leaves an event loop running in the main thread."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


def test_the_script_edits_a_photo(server, script, pixels, tmp_path):
    told = []
    photo, result = server.base / "input" / "ball.png", tmp_path / "edited.png"
    in_a_thread(script.edit_photo(server.url, photo, result, lambda *step: told.append(step), start_step=6, **SETTINGS))
    picture = pixels(result.read_bytes())
    assert picture.shape == (256, 256, 3)
    assert ball.seen(picture) == ball.EDITED
    assert ("invert", 20, 20) in told and ("edit", 14, 14) in told


def test_the_script_passes_on_what_comfyui_says(server, script, tmp_path):
    photo = server.base / "input" / "ball.png"
    with pytest.raises(script.EditError, match="start_step 30 is beyond the trajectory's 20 steps"):
        in_a_thread(
            script.edit_photo(server.url, photo, tmp_path / "x.png", lambda *_: None, start_step=30, **SETTINGS)
        )
    with pytest.raises(script.EditError, match="Value not in list"):
        changed = {**SETTINGS, "checkpoint": "nowhere.safetensors"}
        in_a_thread(script.edit_photo(server.url, photo, tmp_path / "x.png", lambda *_: None, start_step=6, **changed))
