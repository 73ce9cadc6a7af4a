"""Whether more strength changes more: the area that Edit Image changes at five strengths, on still lifes.

    python dev.py bench strength [--set report] [--kind color] [--count 40] [--steps 50]

A pixel has changed if a channel differs from the photo by more than a threshold that no one sees. "grows" counts the edits whose
area never shrinks from one strength to the next; the areas are means, in percent of the picture. Strengths of one edit share
their inversion, as in ComfyUI.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from _edit_ways import CLIP, KIND_NAMES, MODEL, PHOTO, SEED, SIDE, VAE, node
from _graph_run import GraphRun
from _host import environment, prepare
from _miniatures import CHECKPOINTS, Miniature, load
from _still_lifes import COUNTS, SETS, Case, cases

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
SEEN = 8 / 255


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", choices=SETS, default="report", dest="chosen")
    parser.add_argument("--kind", choices=COUNTS, action="append")
    parser.add_argument("--count", type=int, default=40, help="edits of each kind")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--checkpoint", choices=CHECKPOINTS, default=CHECKPOINTS[0])
    parser.add_argument("--parts", type=Path, help="folder with the miniature's parts (default: the stored ones)")
    options = parser.parse_args()
    prepare()
    print(f"{environment()}; {options.checkpoint}, set {options.chosen}, {options.steps} steps\n")
    print("| kind | edits | grows | " + " | ".join(f"at {strength:g}" for strength in STRENGTHS) + " |")
    print("|---" * (3 + len(STRENGTHS)) + "|")
    with torch.inference_mode():
        miniature = load(options.checkpoint, options.parts)
        for kind in options.kind or COUNTS:
            found = [areas(miniature, case, options.steps) for case in cases(kind, options.chosen, options.count)]
            print(row(kind, np.array(found)), flush=True)


def areas(miniature: Miniature, case: Case, steps: int) -> list[float]:
    """The share of the pixels that each strength changes."""
    graph = {f"edit_{number}": _edit(case, strength, steps) for number, strength in enumerate(STRENGTHS)}
    run = GraphRun(graph, {"model": miniature.model, "clip": miniature.clip, "vae": miniature.vae, "photo": case.photo})
    results = [run.value([name, 0]).float().cpu() for name in graph]
    return [float(((result - case.photo).abs().amax(-1) > SEEN).float().mean()) for result in results]


def row(kind: str, found: np.ndarray) -> str:
    """`found`: areas, [edits, strengths]."""
    grows = (np.diff(found, axis=1) >= 0).all(axis=1).mean()
    cells = [kind, f"{len(found)}", f"{100 * grows:.0f} %", *(f"{100 * area:.1f} %" for area in found.mean(axis=0))]
    return f"| {' | '.join(cells)} |"


def _edit(case: Case, strength: float, steps: int) -> Mapping[str, object]:
    return node(
        "RetraceEditImage", model=MODEL, clip=CLIP, vae=VAE, image=PHOTO, before=case.edit.before, after=case.edit.after,
        change=KIND_NAMES[case.edit.kind], strength=strength, seed=SEED, steps=steps, working_size=SIDE,
    )  # fmt: skip


if __name__ == "__main__":
    main()
