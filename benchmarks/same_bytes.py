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

import torch
from _every_node import cases, stored_workflows
from _graphs import Graphs
from _host import ROOT, TINY, prepare

RECORDING = ROOT / ".dev" / "same_bytes.json"


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

        write_all(Path(folder) / "layouts")
        files = [*(Path(folder) / "layouts" / "checkpoints").iterdir(), *TINY.glob("tiny_sd*.safetensors")]
        models = {f"checkpoints/{path.name}": path for path in files}
        models["controlnet/tiny_controlnet.safetensors"] = TINY / "tiny_controlnet.safetensors"
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
    """The demo's image with the box around its object made transparent, as the mask editor would save it."""
    import numpy as np
    from PIL import Image

    photo = Image.open(TINY / "demo.png").convert("RGB")
    object_mask = np.asarray(Image.open(TINY / "demo_mask.png").convert("L")) > 127
    rows, columns = np.nonzero(object_mask)
    alpha = np.full(object_mask.shape, 255, np.uint8)
    alpha[max(0, rows.min() - 8) : rows.max() + 9, max(0, columns.min() - 8) : columns.max() + 9] = 0
    photo.putalpha(Image.fromarray(alpha))
    photo.save(path)


if __name__ == "__main__":
    raise SystemExit(main())
