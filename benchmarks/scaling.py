"""Many small items: a plain loop over ComfyUI's API, the batch command with one worker and with two, and two with kill -9.

    python dev.py bench scaling [--count 200]

Each item loads a picture of 64 x 64 pixels, encodes, decodes and saves it with a miniature's VAE on the CPU: what takes time is the
work around the network. Items a second are counted from the first result to the last, without ComfyUI's start. In the last row a
worker, a ComfyUI and then the driver are killed with SIGKILL, and the same command goes on.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import psutil
from _host import JOINED, LOADER, ROOT, environment
from PIL import Image

sys.path.insert(0, str(ROOT / "demo"))
import batch_package  # noqa: F401  (makes batch/ importable)

from batch.server import ComfyServer

GRAPH = {
    "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "tiny_sd15.safetensors"}},
    "2": {"class_type": "LoadImage", "inputs": {"image": "x.png"}},
    "3": {"class_type": "VAEEncode", "inputs": {"pixels": ["2", 0], "vae": ["1", 2]}},
    "4": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["1", 2]}},
    "5": {"class_type": "SaveImage", "inputs": {"images": ["4", 0], "filename_prefix": "scaling"}},
}


class Batch:
    """The batch command on the photos of a folder, with its own output."""

    def __init__(self, folder: Path, name: str, *where: str) -> None:
        self.out = folder / name
        script = [sys.executable, str(ROOT / "scripts" / "batch.py"), str(folder / "photos")]
        self._command = [*script, "--workflow", str(folder / "api.json"), "--output", str(self.out), *where]

    def start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command, stdout=subprocess.DEVNULL)

    def lines(self) -> list[dict]:
        path = self.out / "ledger.jsonl"
        return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []

    def rate(self) -> float:
        """Items a second between the first and the last result."""
        times = sorted(path.stat().st_mtime for path in (self.out / "images").iterdir())
        return (len(times) - 1) / (times[-1] - times[0])

    def servers(self) -> list[psutil.Process]:
        """The running ComfyUIs, by their folders."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if any(part.startswith(str(self.out / "work")) for part in process.cmdline()):
                    found.append(process)
        return found

    def row(self, title: str, count: int) -> str:
        lines = self.lines()
        done = sum(line["status"] == "done" for line in lines)
        twice = sum(times - 1 for times in Counter(line["key"] for line in lines).values())
        left = len(self.servers()) + sum(1 for _ in (self.out / "work").glob("*"))
        return f"| {title} | {self.rate():.1f} | {count - done} | {twice} | {left} |"


def plain_loop(server: ComfyServer, photos: Sequence[Path]) -> float:
    """Upload, queue, wait and fetch, one item after the other; items a second."""
    started = 0.0
    for number, photo in enumerate(photos):
        graph = {
            **GRAPH,
            "2": {"class_type": "LoadImage", "inputs": {"image": server.upload(photo.name, "", photo.read_bytes())}},
        }
        result = server.run(graph)
        server.images(result, "5")
        if number == 0:
            started = time.monotonic()
    return (len(photos) - 1) / (time.monotonic() - started)


def killed(batch: Batch, count: int) -> None:
    """Kill a worker, a ComfyUI and the driver on the way, then let the same command finish."""
    driver = batch.start()
    for share, victim in ((0.2, lambda server: server.parent()), (0.4, lambda server: server)):
        _wait(lambda share=share: len(batch.lines()) >= share * count)
        victim(batch.servers()[0]).kill()
    _wait(lambda: len(batch.lines()) >= 0.6 * count)
    left = batch.servers()
    driver.kill()
    driver.wait()
    killed_at = time.monotonic()
    _wait(lambda: not any(process.is_running() for process in left))
    print(f"all ComfyUIs were gone {time.monotonic() - killed_at:.1f} s after the driver was killed", flush=True)
    batch.start().wait()


def _wait(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.05)


@contextlib.contextmanager
def prepared(count: int) -> Iterator[Path]:
    """A folder with photos/, api.json and models/."""
    with tempfile.TemporaryDirectory(prefix="retrace-scaling-") as name:
        folder = Path(name)
        (folder / "photos").mkdir()
        (folder / "models" / "checkpoints").mkdir(parents=True)
        shutil.copy(JOINED / "tiny_sd15.safetensors", folder / "models" / "checkpoints")
        (folder / "api.json").write_text(json.dumps(GRAPH))
        rng = np.random.default_rng(0)
        for number in range(count):
            picture = Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))
            picture.save(folder / "photos" / f"{number:04}.png")
        yield folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200)
    count = parser.parse_args().count
    comfyui = Path(os.environ["COMFYUI_PATH"])
    with prepared(count) as folder:
        own = ["--comfyui", str(comfyui), "--models", str(folder / "models"), "--pack", str(LOADER)]
        own.append("--comfyui-argument=--cpu")
        print(
            environment(), "| | items a second | lost | done twice | left behind |", "| --- |" + " --- |" * 4, sep="\n"
        )
        packs = {"retrace": ROOT, "tiny_models": LOADER}
        with ComfyServer(comfyui, packs, {"checkpoints": folder / "models" / "checkpoints"}, ("--cpu",)) as server:
            rate = plain_loop(server, sorted((folder / "photos").iterdir()))
            print(f"| plain loop over the API | {rate:.1f} | - | - | - |", flush=True)
        for title, name, workers in (("one worker", "one", []), ("two workers", "two", ["--workers", "2"])):
            batch = Batch(folder, name, *own, *workers)
            batch.start().wait()
            print(batch.row(title, count), flush=True)
        batch = Batch(folder, "killed", *own, "--workers", "2")
        killed(batch, count)
        print(batch.row("two workers; a worker, a ComfyUI and the driver killed", count))


if __name__ == "__main__":
    main()
