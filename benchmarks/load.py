"""A real ComfyUI under load and faults: whatever went wrong before, later prompts give the bytes of a fresh server.

    python dev.py bench load [--prompts 30] [--seed 0]        --full: 200 prompts

All templates, on miniatures of three families, in random order in one queue. Two of five prompts are hit: by a request to interrupt
them, or by an exception or a lack of memory in a random layer at a random call of the network. Now and then everything is unloaded.
The prompts are shared out to a server as it starts, one that keeps no results and one that keeps no models in place. Each runs all
templates without a fault before and after; memory is compared at these two points, with the models unloaded.

Ends with an error when a picture differs from the fresh server's, a prompt fails that was not hit, a function, hook, gradient or
weight stays changed, or the memory has grown by more than 2 %.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import itertools
import os
import random
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from _graphs import Prompt
from _host import ROOT, environment, prepare
from _small_templates import PACKS, model_files, small_templates
from PIL import Image
from same_bytes import photo_with_mask

from batch.api import PromptFailedError, PromptInterruptedError
from batch.server import ComfyServer

FAULTS = ROOT / "benchmarks" / "_fault_pack"
MESSAGE = "a fault of the load benchmark"
MODES = {
    "as it starts": (),
    "no cache": ("--cache-none",),
    "low memory": ("--disable-smart-memory", "--cache-lru", "1"),
}
AS_ON_A_GPU = ("--use-pytorch-cross-attention",)  # as in the server tests: half again as fast
HIT, UNLOADED, AGAIN = 0.4, 0.1, 0.3
"""Shares of the prompts: hit by a fault, beside a request to unload everything, equal to an earlier one (results are reused)."""
ALLOWED = 1.02
READINGS = 12
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"}
"""glibc's: memory goes back to the system as soon as it is free, so that what is measured is in use."""
Seen = dict[str, list[str]]


@dataclass
class Reference:
    """What a fresh server gave: pictures and texts, calls of the network and seconds by template, and its models."""

    seen: dict[str, Seen] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    networks: dict[str, Any] = field(default_factory=dict)


@dataclass
class Load:
    """One server with its prompts, and what became of them."""

    server: ComfyServer
    templates: Mapping[str, Prompt]
    draw: random.Random
    found: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    photos: dict[str, int] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def state(self) -> dict[str, Any]:
        return self.server.get("/retrace-load/state")

    def prompt(self, name: str) -> Prompt:
        """A template's prompt. ComfyUI takes it for a new one, unless it is to find results of an earlier one."""
        if name not in self.photos or self.draw.random() >= AGAIN:
            self.photos[name] = next(self.numbers)
        number, nodes = self.photos[name], {}
        photo = self.server.base / "input" / f"photo_{number}.png"
        if not photo.exists():
            photo_with_mask(photo)
        for key, node in self.templates[name].items():
            inputs = dict(node["inputs"])
            if node["class_type"] in ("LoadImage", "LoadImageMask"):
                inputs["image"] = photo.name
            elif node["_meta"]["title"] == "Negative prompt":  # spaces are not tokens
                inputs["text"] += " " * number
            nodes[key] = {**node, "inputs": inputs}
        return nodes

    def queue(self, name: str, prompt_id: str) -> None:
        payload = {"prompt": self.prompt(name), "prompt_id": prompt_id, "client_id": self.server.client_id}
        self.server.post_prompt(payload)

    def seen(self, prompt_id: str) -> Seen:
        """Digests of the pixels of all pictures, and all texts, by node."""
        found: Seen = {}
        for node, shown in self.server.finished(prompt_id)["outputs"].items():
            pictures = [entry for entries in shown.values() for entry in entries if isinstance(entry, dict)]
            texts = [entry for entries in shown.values() for entry in entries if isinstance(entry, str)]
            files = [Image.open(io.BytesIO(self.server.fetch(picture))) for picture in pictures]
            found[node] = [*(hashlib.sha256(np.asarray(file).tobytes()).hexdigest() for file in files), *texts]
        return found

    def clean_pass(self, reference: Reference) -> None:
        """Every template once, without a fault; the first server's are the reference."""
        for name in self.draw.sample(sorted(self.templates), len(self.templates)):
            began, prompt_id = time.monotonic(), str(uuid.uuid4())
            self.queue(name, prompt_id)
            list(self.server.follow(prompt_id))
            self.finish(name, prompt_id, reference)
            if name not in reference.calls:
                reference.calls[name] = self.state()["calls"][prompt_id]
                reference.seconds[name] = time.monotonic() - began

    def finish(self, name: str, prompt_id: str, reference: Reference, hit: str = "") -> None:
        """Take note of what became of a prompt."""
        try:
            seen = self.seen(prompt_id)
        except PromptInterruptedError:
            outcome = "interrupted as told" if hit == "interrupt" else "interrupted"
        except PromptFailedError as error:
            told = hit in ("exception", "memory") and MESSAGE in error.message
            outcome = f"failed as told, {hit}" if told else f"failed: {error}"
        else:
            expected = reference.seen.setdefault(name, seen)
            # A node whose result is reused shows its picture again, but not its text.
            same = all(expected.get(node) == shown for node, shown in seen.items())
            saved = {node for node, it in self.templates[name].items() if it["class_type"] == "SaveImage"}
            outcome = "finished, the same bytes" if same and saved <= seen.keys() else "finished, OTHER BYTES"
        self.found[outcome] += 1
        if not outcome.endswith(("same bytes", "as told")) and not outcome.startswith("failed as told"):
            self.faults.append(f"{name}: {outcome}")

    def burst(self, count: int, reference: Reference) -> None:
        """Queue the prompts at once, then follow them to their ends."""
        names = [self.draw.choice(sorted(self.templates)) for _ in range(count)]
        ids = [str(uuid.uuid4()) for _ in names]
        hits = [
            self.draw.choice(["interrupt", "exception", "memory"]) if self.draw.random() < HIT else "" for _ in names
        ]
        failing = {
            prompt_id: {"kind": hit, "call": self.draw.randint(1, reference.calls[name]), "where": self.draw.random()}
            for name, prompt_id, hit in zip(names, ids, hits, strict=True)
            if hit in ("exception", "memory")
        }
        self.server.request("/retrace-load/faults", failing)
        for name, prompt_id in zip(names, ids, strict=True):
            self.queue(name, prompt_id)
        for name, prompt_id, hit in zip(names, ids, hits, strict=True):
            if self.draw.random() < UNLOADED:
                self.server.request("/free", {"unload_models": True, "free_memory": True})
            after = self.draw.random() * reference.seconds[name]
            self.follow(prompt_id, after if hit == "interrupt" else None)
            self.finish(name, prompt_id, reference, hit)

    def follow(self, prompt_id: str, interrupt_after: float | None) -> None:
        stop = threading.Timer(interrupt_after or 0, self.server.request, ("/interrupt", {"prompt_id": prompt_id}))
        for event in self.server.follow(prompt_id):
            if event.kind == "execution_start" and interrupt_after is not None:
                stop.start()
        stop.cancel()

    def check_state(self, reference: Reference) -> None:
        """Compare the models in memory, and ComfyUI's functions, with the fresh server's."""
        state = self.state()
        reference.networks = reference.networks or state["networks"]
        changed = [digest for digest, it in state["networks"].items() if reference.networks.get(digest) != it]
        if changed or state["replaced"]:
            self.faults.append(f"changed: {len(changed)} networks, functions {state['replaced']}")

    def memory(self) -> float:
        """Megabytes without models, results and history: the least of a few seconds, as ComfyUI drops them in its own time."""
        self.server.request("/history", {"clear": True})
        self.server.request("/free", {"unload_models": True, "free_memory": True})
        readings = []
        for _ in range(READINGS):
            time.sleep(0.5)
            readings.append(self.state()["memory"] / 2**20)
        return min(readings)


def try_mode(
    title: str, arguments: Sequence[str], models: Mapping[str, Path], count: int, reference: Reference, seed: int
) -> list[str]:
    """Run a server's share of the prompts and print its row; returns what was wrong."""
    packs = {**PACKS, "fault_pack": FAULTS}
    with ComfyServer(Path(os.environ["COMFYUI_PATH"]), packs, models, (*arguments, *AS_ON_A_GPU)) as server:
        load = Load(server, small_templates(server.get("/object_info")), random.Random(f"{seed} {title}"))
        load.state()
        load.clean_pass(reference)
        load.check_state(reference)
        before = load.memory()
        load.burst(count, reference)
        load.clean_pass(reference)
        load.check_state(reference)
        after = load.memory()
    if after > ALLOWED * before:
        load.faults.append(f"memory grew from {before:.0f} to {after:.0f} MB")
    told = "; ".join(f"{number} {outcome}" for outcome, number in sorted(load.found.items()))
    print(f"| {title} | {count} | {told} | {before:.0f} | {after:.0f} ({after / before - 1:+.1%}) |", flush=True)
    return [f"{title}: {fault}" for fault in load.faults]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=30)
    parser.add_argument("--full", action="store_true", help="200 prompts")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    prepare()
    os.environ.update(ALLOCATOR)
    count = 200 if options.full else options.prompts
    print(
        environment(),
        "| server | prompts under faults | outcomes, clean passes included | MB before | MB after |",
        sep="\n",
    )
    print("| --- | --- | --- | --- | --- |", flush=True)
    faults, reference = [], Reference()
    with tempfile.TemporaryDirectory(prefix="retrace-load-") as folder:
        models = model_files(Path(folder))
        for number, (title, arguments) in enumerate(MODES.items()):
            share = count * (number + 1) // len(MODES) - count * number // len(MODES)
            faults += try_mode(title, arguments, models, share, reference, options.seed)
    print(*faults, sep="\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
