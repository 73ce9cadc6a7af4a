"""The command from end to end, on a stand-in for ComfyUI: resumed after a kill, nothing lost, nothing done twice."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from retrace_pack.batch import ledger as ledger_module
from retrace_pack.batch.command import main
from stub_comfyui import Stub

ROOT = Path(__file__).resolve().parent.parent.parent
GRAPH = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}, "_meta": {"title": "Photo"}},
    "2": {"class_type": "Prompt", "inputs": {"text": "x"}, "_meta": {"title": "Target prompt"}},
    "3": {"class_type": "SaveImage", "inputs": {"images": ["1", 0]}, "_meta": {"title": "Save"}},
}


@pytest.fixture
def rows(tmp_path):
    """(count) -> the arguments for a table with that many photos."""

    def make(count: int) -> list[str]:
        for number in range(count):
            pixels = np.full((8, 12, 3), number, np.uint8)
            Image.fromarray(pixels).save(tmp_path / f"{number:03}.png")
        lines = [f"{number:03}.png,after {number}" for number in range(count)]
        (tmp_path / "rows.csv").write_text("\n".join(["image,after", *lines]))
        (tmp_path / "api.json").write_text(json.dumps(GRAPH))
        workflow = str(tmp_path / "api.json")
        return [str(tmp_path / "rows.csv"), "--workflow", workflow, "--output", str(tmp_path / "out")]

    return make


def ledger(tmp_path):
    return [json.loads(line) for line in (tmp_path / "out" / "ledger.jsonl").read_text("utf-8").splitlines()]


def test_photos_go_in_and_results_come_out(tmp_path, rows, capsys):
    stub = Stub()
    assert main([*rows(5), "--server", stub.url]) == 0
    images = sorted((tmp_path / "out" / "images").iterdir())
    assert [np.asarray(Image.open(path))[0, 0, 0] for path in images] == list(range(5))
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert page.count("<article") == 5 and "after 3" in page and "../000.png" in page and "http" not in page
    assert (tmp_path / "out" / "sheet.jpg").exists() and not (tmp_path / "out" / "failed.csv").exists()
    assert "5 of 5: 5 done, 0 failed" in capsys.readouterr().out
    assert main([*rows(5), "--server", stub.url]) == 0 and len(stub.prompts) == 5


def test_a_row_that_fails_does_not_end_the_batch_and_its_table_is_an_input(tmp_path, rows):
    data = {"node_type": "Prompt", "exception_type": "ValueError", "exception_message": "no such word"}
    stub = Stub(fault=lambda graph: data if graph["2"]["inputs"]["text"] == "after 2" else None)
    assert main([*rows(4), "--server", stub.url]) == 1
    failed = tmp_path / "out" / "failed.csv"
    (row,) = csv.DictReader(failed.open(encoding="utf-8"))
    assert row["after"] == "after 2" and row["failure"] == "node: Prompt: no such word"
    stub.fault = lambda graph: None
    again = [str(failed), *rows(4)[1:3], "--output", str(tmp_path / "again"), "--server", stub.url]
    assert main(again) == 0
    assert len(list((tmp_path / "again" / "images").iterdir())) == 1


def test_what_does_not_fit_is_said_before_anything_runs(tmp_path, rows, capsys):
    stub = Stub()
    assert main([*rows(3), "--server", stub.url, "--set", "Target prompt.text={color}"]) == 2
    assert capsys.readouterr().err.count("there is no column 'color'") == 3 and not stub.prompts
    assert main([*rows(3), "--server", stub.url, "--dry-run"]) == 0 and not stub.prompts
    assert not (tmp_path / "out" / "ledger.jsonl").exists()


def test_a_workflow_that_the_server_rejects_ends_the_batch(tmp_path, rows):
    arguments = rows(3)
    (tmp_path / "api.json").write_text(json.dumps({**GRAPH, "4": {"class_type": "Missing", "inputs": {}}}))
    assert main([*arguments, "--server", Stub().url]) == 2
    assert [entry["kind"] for entry in ledger(tmp_path)] == ["rejected"]


def test_a_full_disk_ends_the_batch_which_goes_on_once_there_is_room(tmp_path, rows, monkeypatch, capsys):
    stub, arguments = Stub(), rows(4)
    write_whole, images = ledger_module.write_whole, []

    def full_at_the_third(path, content):
        images.extend([path] if path.parent.name == "images" else [])
        if len(images) == 3:
            raise OSError(28, "No space left on device")
        write_whole(path, content)

    monkeypatch.setattr(ledger_module, "write_whole", full_at_the_third)
    assert main([*arguments, "--server", stub.url]) == 3 and "No space left" in capsys.readouterr().err
    assert len(ledger(tmp_path)) == 2
    monkeypatch.undo()
    assert main([*arguments, "--server", stub.url]) == 0 and len(ledger(tmp_path)) == 4


def test_an_output_folder_that_cannot_be_made_is_said(tmp_path, rows, capsys):
    (tmp_path / "out").write_text("a file")
    assert main([*rows(1), "--server", Stub().url]) == 2 and "out" in capsys.readouterr().err


def test_a_model_file_that_has_changed_under_its_name_is_not_gone_on_with(tmp_path, rows, capsys):
    """A copy of the same file is the same, whatever its date; and where nothing is known of it, nothing is refused."""
    stub, arguments = Stub(), rows(2)
    (tmp_path / "models").mkdir()
    file, content = tmp_path / "models" / "a.safetensors", os.urandom(200_000)
    loader = {"class_type": "Loader", "inputs": {"ckpt_name": "a.safetensors", "lora_name": "absent.safetensors"}}
    (tmp_path / "api.json").write_text(json.dumps({**GRAPH, "4": loader}))
    assert main([*arguments, "--server", stub.url]) == 0
    stub.models = [tmp_path / "models"]
    file.write_bytes(content)
    assert main([*arguments, "--server", stub.url]) == 0 and len(stub.prompts) == 2
    os.utime(file, (0, 0))
    assert main([*arguments, "--server", stub.url]) == 0
    file.write_bytes(bytes(100_000) + content[100_000:])
    assert main([*arguments, "--server", stub.url]) == 2
    assert "other files of the same name (a.safetensors)" in capsys.readouterr().err
    stub.models = []
    assert main([*arguments, "--server", stub.url]) == 0
    stub.models = [tmp_path / "models"]
    assert main([*arguments, "--server", stub.url]) == 2
    file.write_bytes(content)
    assert main([*arguments, "--server", stub.url]) == 0 and len(stub.prompts) == 2


def test_a_killed_driver_goes_on_where_it_stopped(tmp_path, rows):
    stub = Stub(seconds=0.1)
    command = [sys.executable, str(ROOT / "scripts" / "batch.py"), *rows(12), "--server", stub.url]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    path = tmp_path / "out" / "ledger.jsonl"
    while process.poll() is None and (not path.exists() or path.read_bytes().count(b"\n") < 4):
        time.sleep(0.01)
    process.kill()
    process.wait()
    done = path.read_bytes().count(b"\n")
    assert 4 <= done < 12
    assert main(command[2:]) == 0
    assert Counter(entry["key"] for entry in ledger(tmp_path)).most_common(1)[0][1] == 1 and len(ledger(tmp_path)) == 12
    # The one in work was finished by the server meanwhile, and was found there by its id.
    assert len(stub.prompts) == len(set(stub.prompts)) == 12


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for another process")
def test_ctrl_c_finishes_what_is_in_work(tmp_path, rows):
    stub = Stub(seconds=0.1)
    command = [sys.executable, str(ROOT / "scripts" / "batch.py"), *rows(30), "--server", stub.url]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    path = tmp_path / "out" / "ledger.jsonl"
    while process.poll() is None and (not path.exists() or path.read_bytes().count(b"\n") < 2):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130
    assert len(ledger(tmp_path)) == len(stub.prompts) < 30


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for another process")
def test_the_second_ctrl_c_ends_at_once(tmp_path, rows):
    stub = Stub(seconds=600)
    command = [sys.executable, str(ROOT / "scripts" / "batch.py"), *rows(3), "--server", stub.url]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    while not stub.prompts:
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)  # two signals at the same time count as one
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130 and ledger(tmp_path) == []
