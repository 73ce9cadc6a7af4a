"""Check that results are bit-identical: records the outputs of every template and every node with fixed seeds, or compares.

    python dev.py bench same_bytes --record     before a change that must not alter results
    python dev.py bench same_bytes --check      after it

The recording is stored in .dev/same_bytes.json: digests of all latents, masks, images, sigmas, conditionings and trajectories.
Bits differ between processors and versions of torch, so it is not kept in git.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from _every_node import cases, stored_workflows
from _graphs import Graphs
from _host import JOINED, PARTS, ROOT, prepare
from PIL import Image
from tiny_models import photos

RECORDING = ROOT / ".dev" / "same_bytes.json"
ROOM = 8
"""Pixels around the ball that are painted over with it."""


def record(graphs: Graphs, chosen: str) -> dict[str, dict[str, str]]:
    """Case -> output -> digest."""
    results = {}
    for name, prompt in (*stored_workflows(graphs), *cases()):
        if chosen in name:
            began = time.monotonic()
            results[name] = graphs.run(prompt)
            print(f"{name}: {len(results[name])} outputs, {time.monotonic() - began:.1f} s", flush=True)
    return results


def differences(before: Mapping[str, Mapping[str, str]], after: Mapping[str, Mapping[str, str]]) -> list[str]:
    """A line for each output that differs or exists on one side only."""
    lines = []
    for case in sorted(before.keys() | after.keys()):
        old, new = before.get(case, {}), after.get(case, {})
        lines += [
            f"{case}: {output}" for output in sorted(old.keys() | new.keys()) if old.get(output) != new.get(output)
        ]
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--record", action="store_true")
    action.add_argument("--check", action="store_true")
    parser.add_argument("--only", default="", help="only cases whose name contains this text (with --check)")
    parser.add_argument("--recording", type=Path, default=RECORDING)
    options = parser.parse_args()
    # One thread, so that sums are always taken in the same order.
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True, warn_only=True)
    logging.disable(logging.WARNING)
    pack = prepare()
    with tempfile.TemporaryDirectory() as folder:
        from layout_files import write_all

        layouts = Path(folder) / "layouts"
        layouts.mkdir()
        write_all(layouts)
        models = {
            f"checkpoints/{path.name}": path for path in (*layouts.iterdir(), *JOINED.glob("tiny_sd*.safetensors"))
        }
        models["controlnet/tiny_controlnet.safetensors"] = PARTS / "tiny_controlnet.safetensors"
        graphs = Graphs(pack, Path(folder) / "comfyui", models)
        photo_with_mask(graphs.input / "photo.png")
        results = record(graphs, options.only)
    if options.record:
        options.recording.write_text(json.dumps(results, indent=1))
        print(f"{sum(map(len, results.values()))} outputs of {len(results)} cases recorded")
        return 0
    before = json.loads(options.recording.read_text())
    changed = differences({name: old for name, old in before.items() if options.only in name}, results)
    print(
        "\n".join(changed)
        or f"all {sum(map(len, results.values()))} outputs of {len(results)} cases are the same bytes"
    )
    return 1 if changed else 0


def photo_with_mask(path: Path) -> None:
    """The photo of the ball with the box around it made transparent, as the mask editor would save it."""
    photo, ball = Image.fromarray(photos.photo("ball")), photos.mask("ball")
    alpha = np.full(ball.shape, 255, np.uint8)
    alpha[tuple(slice(max(0, side.min() - ROOM), side.max() + ROOM + 1) for side in np.nonzero(ball))] = 0
    photo.putalpha(Image.fromarray(alpha))
    photo.save(path)


if __name__ == "__main__":
    raise SystemExit(main())
