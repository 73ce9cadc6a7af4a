"""The batch command on a real ComfyUI: killed servers and drivers lose nothing and leave nothing behind. PIE-Bench's methods."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from world.pie_set import write_pie_set

ROOT = Path(__file__).resolve().parent.parent.parent
MINIATURES = ROOT / ".dev" / "miniatures"
LOADER = ROOT / "tests" / "tiny_models" / "loader"
LOOK_AGAIN_S = 0.05
LINUX = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc to find a process's children")


def graph():
    """Load, encode, decode, save."""
    node = lambda name, **inputs: {"class_type": name, "inputs": inputs, "_meta": {"title": name}}  # noqa: E731
    return {
        "1": node("CheckpointLoaderSimple", ckpt_name="tiny_sd15.safetensors"),
        "2": node("LoadImage", image="x.png"),
        "3": node("VAEEncode", pixels=["2", 0], vae=["1", 2]),
        "4": node("VAEDecode", samples=["3", 0], vae=["1", 2]),
        "5": node("SaveImage", images=["4", 0], filename_prefix="batch"),
    }


def children(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        if int(fields[1]) == pid:
            found.append(int(stat.parent.name))
    return found


@LINUX
def test_killed_servers_and_drivers_lose_nothing_and_leave_nothing(tmp_path, server):
    photos, out, models = tmp_path / "photos", tmp_path / "out", tmp_path / "models" / "checkpoints"
    photos.mkdir()
    models.mkdir(parents=True)
    shutil.copy(MINIATURES / "tiny_sd15.safetensors", models)
    for number in range(8):
        Image.fromarray(np.full((64, 64, 3), 20 * number, np.uint8)).save(photos / f"{number}.png")
    (tmp_path / "api.json").write_text(json.dumps(graph()))
    common = [str(photos), "--workflow", str(tmp_path / "api.json"), "--output", str(out)]
    script = [sys.executable, str(ROOT / "scripts" / "batch.py"), *common]
    own = ["--comfyui", os.environ["COMFYUI_PATH"], "--models", str(models.parent), "--pack", str(LOADER)]
    ledger = out / "ledger.jsonl"

    def wait_for(driver: subprocess.Popen, lines: int) -> None:
        while not ledger.exists() or ledger.read_bytes().count(b"\n") < lines:
            assert driver.poll() is None, "the driver has ended before"
            time.sleep(LOOK_AGAIN_S)

    driver = subprocess.Popen([*script, *own])
    wait_for(driver, 1)
    (comfyui,) = children(driver.pid)
    os.kill(comfyui, signal.SIGKILL)
    wait_for(driver, 3)
    (restarted,) = children(driver.pid)
    assert restarted != comfyui
    driver.kill()
    driver.wait()
    while Path(f"/proc/{restarted}").exists():  # the test's own time-out ends a wait for an orphan
        time.sleep(LOOK_AGAIN_S)
    assert list((out / "work").iterdir()) == []
    resumed = subprocess.run([*script, "--server", server.url], capture_output=True, text=True)
    assert resumed.returncode == 0, resumed.stderr
    entries = [json.loads(line) for line in ledger.read_text("utf-8").splitlines()]
    assert len(entries) == 8 and set(Counter(entry["key"] for entry in entries).values()) == {1}
    assert all(entry["status"] == "done" for entry in entries)
    assert list(json.loads((out / "job.json").read_text("utf-8"))["models"]) == ["tiny_sd15.safetensors"]
    for entry in entries:
        (name,) = entry["files"]
        assert Image.open(out / "images" / name).size == (64, 64)


def test_every_method_of_pie_bench_edits(tmp_path, server, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import piebench

    write_pie_set(tmp_path / "data", 10, 64, samples=1)
    common = ["--data", str(tmp_path / "data"), "--output", str(tmp_path / "out"), "--count", "1"]
    common += ["--server", server.url, "--checkpoint", "tiny_sd15.safetensors"]
    from_table = [name for name in piebench.METHODS if name != "edit-image"]
    small = ["--set", "Invert.steps=2", "--set", "Resize.megapixels=0.01"]
    easy = ["--set", "Edit Image.steps=10", "--set", "Edit Image.working_size=64"]
    assert piebench.main([*common, "--methods", *from_table, *small]) == 0
    assert piebench.main([*common, "--methods", "edit-image", *easy]) == 0
    for name in piebench.METHODS:
        (image,) = (tmp_path / "out" / name / "images").iterdir()
        assert np.asarray(Image.open(image)).std() > 0, name
