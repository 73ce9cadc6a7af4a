"""Ray's workers: what the driver makes of deaths and failed starts, with a stand-in for Ray; and kill -9 with the real one."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from PIL import Image
from retrace_pack.batch.command import main
from retrace_pack.batch.installation import Installation
from retrace_pack.batch.items import InputError, Item
from retrace_pack.batch.pools import NoWorkersError
from retrace_pack.batch.ray_pool import Cluster, RayPool
from retrace_pack.batch.tasks import Task
from retrace_pack.batch.workflow import model_files
from stub_comfyui import Stub

ROOT = Path(__file__).resolve().parent.parent.parent


class FakeError(Exception):
    pass


class FakeRay:
    """`outcomes(number, call)` is what a call of the number-th actor gives; an exception is raised."""

    exceptions = SimpleNamespace(RayError=FakeError)

    def __init__(self, folder, outcomes, gpus=0):
        self.folder, self.outcomes, self.gpus = folder, outcomes, gpus
        self.opened, self.killed, self.stopped, self.options = 0, [], [], {}

    def init(self, **settings):
        return SimpleNamespace(address_info={"session_dir": str(self.folder)})

    def cluster_resources(self):
        return {"GPU": self.gpus} if self.gpus else {}

    def remote(self, **options):
        self.options = options
        return lambda cls: SimpleNamespace(remote=self.open)

    def open(self, *arguments):
        self.opened += 1
        number = self.opened
        call = lambda name: SimpleNamespace(remote=lambda *given: Reference(number, name, given))  # noqa: E731
        stop = SimpleNamespace(remote=lambda: self.stopped.append(number) or Reference(number, "stop", ()))
        return SimpleNamespace(number=number, ready=call("ready"), run=call("run"), stop=stop)

    def wait(self, references, num_returns, timeout):
        return references[:num_returns], references[num_returns:]

    def get(self, reference):
        outcome = self.outcomes(reference.number, reference.name)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def kill(self, actor):
        self.killed.append(actor.number)

    def shutdown(self):
        pass


class Reference:
    """A reference: hashed by identity, as Ray's are by their id."""

    def __init__(self, number, name, given):
        self.number, self.name, self.given = number, name, given


READY = {
    "host": "here",
    "facts": {"comfyui_version": "1"},
    "models": {"a.ckpt": "34"},
    "weights": {"a.ckpt": "12"},
    "node_definitions": {"N": {}},
}
DONE = {"key": "a", "files": {"a.png": b"x"}, "kind": "", "message": "", "seconds": 1.0}
TASK = Task("a", Item("a", None, None, {}), {}, {})


@pytest.fixture
def pool_of(tmp_path, monkeypatch):
    def make(outcomes, gpus=0, **cluster):
        fake = FakeRay(tmp_path / "session", outcomes, gpus)
        monkeypatch.setitem(sys.modules, "ray", fake)
        return fake, RayPool(Cluster(**cluster), Installation(tmp_path, tmp_path), 10.0, ["a.ckpt"])

    return make


def test_an_actor_that_dies_is_replaced_and_its_task_comes_back(pool_of):
    fake, pool = pool_of(
        lambda number, call: READY if call == "ready" else FakeError() if number == 1 else DONE, workers=1
    )
    assert pool.free() == 0 and pool.node_definitions() == {"N": {}} and pool.facts() == READY["facts"]
    assert pool.models() == READY["models"]
    pool.start(TASK)
    ((task, answer),) = pool.finished(1.0)
    assert task is TASK and answer.kind == "worker died" and fake.killed == [1]
    assert pool.finished(1.0) == [] and pool.free() == 1 and fake.opened == 2
    pool.start(TASK)
    ((_, answer),) = pool.finished(1.0)
    assert answer.kind == "" and answer.files == {"a.png": b"x"}


@pytest.mark.parametrize("failure", [{"error": "no CUDA"}, FakeError("out of memory")])
def test_three_failed_starts_in_a_row_are_enough(pool_of, failure):
    fake, pool = pool_of(lambda number, call: failure, workers=1)
    with pytest.raises(NoWorkersError, match="no CUDA|out of memory"):
        pool.facts()
    assert fake.opened == 3


def test_the_batch_goes_on_with_the_workers_that_start(pool_of):
    fake, pool = pool_of(lambda number, call: READY if number == 1 else {"error": "no CUDA"}, workers=2)
    for _ in range(4):
        assert pool.finished(1.0) == []
    assert fake.opened == 4 and pool.free() == 1


@pytest.mark.parametrize(
    "change", [{"facts": {"comfyui_version": "2"}}, {"weights": {"a.ckpt": "34"}}, {"weights": {}}]
)
def test_a_worker_that_differs_is_not_used(pool_of, change, caplog):
    answers = {1: READY, 2: {**READY, "host": "there", **change}}
    fake, pool = pool_of(lambda number, call: answers[number], workers=2, address="auto")
    assert [pool.finished(1.0), pool.finished(1.0)] == [[], []]
    assert pool.free() == 1 and fake.stopped == [2] and fake.opened == 2 and "there" in caplog.text


def test_each_worker_has_a_gpu_where_there_are_any(pool_of):
    assert pool_of(lambda *_: READY, workers=2)[0].options["num_gpus"] == 0
    assert pool_of(lambda *_: READY, workers=2, gpus=2)[0].options["num_gpus"] == 1
    assert pool_of(lambda *_: READY, workers=2, gpus=1, address="auto")[0].options["num_gpus"] == 1
    with pytest.raises(InputError, match="2 workers with 1 GPU each.*--gpus-per-worker 0.5"):
        pool_of(lambda *_: READY, workers=2, gpus=1)


def test_model_files_are_found_in_both_formats():
    graph = {"1": {"inputs": {"ckpt_name": "sd/a.safetensors", "steps": 3, "model": ["2", 0]}}}
    assert model_files([graph, ["Load.ckpt_name=b.ckpt", "Prompt.value=a pt"]]) == ["b.ckpt", "sd/a.safetensors"]
    assert model_files({"nodes": [{"widgets_values": ["c.gguf", 1]}]}) == ["c.gguf"]


def test_workers_need_ray_and_servers_of_their_own(tmp_path, monkeypatch, capsys):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "api.json").write_text("{}")
    common = [
        str(tmp_path),
        "--workflow",
        str(tmp_path / "api.json"),
        "--output",
        str(tmp_path / "out"),
        "--workers",
        "2",
    ]
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main([*common, "--comfyui", str(tmp_path)]) == 2
    assert "pip install -r requirements-batch.txt" in capsys.readouterr().err
    assert main([*common, "--server", "http://127.0.0.1:1"]) == 2 and "leave out --server" in capsys.readouterr().err


MAIN = """import os, signal, sys, threading
sys.path.insert(0, {tests!r})
from stub_comfyui import run_as_comfyui
def fault(graph):
    number = int(graph["2"]["inputs"]["text"].removeprefix("after "))
    if number == 5:
        os.kill(os.getppid(), signal.SIGKILL)
    if number >= 40:
        threading.Event().wait()  # on no machine does the driver come to its end before it is killed
run_as_comfyui(0.05, fault)
"""
GRAPH = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}, "_meta": {"title": "Photo"}},
    "2": {"class_type": "Prompt", "inputs": {"text": "x"}, "_meta": {"title": "Target prompt"}},
    "3": {"class_type": "SaveImage", "inputs": {"images": ["1", 0]}, "_meta": {"title": "Save"}},
}


def servers(work: Path) -> list[psutil.Process]:
    """The stand-ins of ComfyUI that run in this folder; the parent of each is its worker."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if any(part.startswith(str(work)) for part in process.cmdline()):
                found.append(process)
    return found


def wait_until(condition, seconds=120.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.skipif(os.name == "nt", reason="kill -9 and process groups are not Windows's")
def test_kills_of_workers_servers_and_the_driver_lose_nothing_and_leave_nothing(tmp_path):
    pytest.importorskip("ray", reason="Ray has no wheel for this machine")
    count, out = 60, tmp_path / "out"
    for number in range(count):
        Image.fromarray(np.full((8, 12, 3), number, np.uint8)).save(tmp_path / f"{number:03}.png")
    lines = [f"{number:03}.png,after {number}" for number in range(count)]
    (tmp_path / "rows.csv").write_text("\n".join(["image,after", *lines]))
    (tmp_path / "api.json").write_text(json.dumps(GRAPH))
    (tmp_path / "comfyui").mkdir()
    (tmp_path / "comfyui" / "main.py").write_text(MAIN.format(tests=str(ROOT / "tests")))
    common = [str(tmp_path / "rows.csv"), "--workflow", str(tmp_path / "api.json"), "--output", str(out)]
    own = ["--comfyui", str(tmp_path / "comfyui"), "--comfyui-argument=--cpu", "--workers", "2"]
    ledger = out / "ledger.jsonl"
    ended = lambda: ledger.read_bytes().count(b"\n") if ledger.exists() else 0  # noqa: E731

    driver = subprocess.Popen([sys.executable, str(ROOT / "scripts" / "batch.py"), *common, *own])
    try:
        for at in (8, 16, 24):
            wait_until(lambda at=at: ended() >= at or driver.poll() is not None)
            assert driver.poll() is None
            server, *_ = servers(out / "work")
            victim = server.parent() if at != 16 else server
            victim.kill()
            wait_until(lambda server=server: not server.is_running())
        wait_until(lambda: ended() >= 28 and servers(out / "work"))
        running = servers(out / "work")
        running += [server.parent() for server in running]
    finally:
        driver.kill()
        driver.wait()
    assert ended() < count and len(running) in (2, 4)
    wait_until(lambda: not any(process.is_running() for process in running))
    wait_until(lambda: not servers(out / "work") and not list((out / "work").iterdir()))
    assert main([*common, "--server", Stub().url]) == 0
    entries = [json.loads(line) for line in ledger.read_text("utf-8").splitlines()]
    assert len(entries) == count and set(Counter(entry["key"] for entry in entries).values()) == {1}
    assert {entry["status"] for entry in entries} == {"done"}
    for entry in entries:
        for name in entry["files"]:
            assert (out / "images" / name).read_bytes() == (tmp_path / entry["row"]["image"]).read_bytes()
