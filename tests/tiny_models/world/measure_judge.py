"""How often the judge is right on fresh renderings: `python -m world.measure_judge --work FOLDER` beside this folder.

Scenes with held-out words and others are measured apart. `--autoencoder FILE` adds the round trips of an AutoencoderTiny, given as
the trainer's state dict (its `autoencoder.pt`).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np

from .judge import ATTRIBUTES, GROUND, judge_all
from .judge_round_trip import round_trip_through
from .judge_set import JudgeSet, rendered_set

COLUMNS = (*GROUND, *ATTRIBUTES, "count")
SEED = 7
PICTURES = 400


def accuracy(data: JudgeSet, altered: Callable[[np.ndarray], np.ndarray] = np.asarray) -> dict[str, float]:
    """Share of right answers by attribute (of solids that are there, a solid not found is wrong), and of right counts."""
    right: dict[str, list[bool]] = {name: [] for name in COLUMNS}
    for start in range(0, len(data.pictures), 50):
        for row, verdict in enumerate(judge_all(altered(data.pictures[start : start + 50])), start):
            for number, (name, words) in enumerate(GROUND.items()):
                right[name].append(getattr(verdict, name) == words[data.ground[row, number]])
            there = data.solids[row][data.solids[row, :, 6] > 0]
            right["count"].append(len(there) == len(verdict.solids))
            for answer in there:
                found = verdict.nearest(float(answer[0]), float(answer[1]))
                for number, (name, words) in enumerate(ATTRIBUTES.items()):
                    right[name].append(found is not None and getattr(found, name) == words[int(answer[2 + number])])
    return {name: float(np.mean(each)) for name, each in right.items()}


def line(title: str, figures: dict[str, float]) -> str:
    """A line of the table, in percent."""
    return f"| {title} | " + " | ".join(f"{100 * figures[name]:.1f}" for name in COLUMNS) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="where the renderings are kept")
    parser.add_argument("--pictures", type=int, default=PICTURES, help="of each kind")
    parser.add_argument("--autoencoder", type=Path)
    given = parser.parse_args()
    restored = round_trip_through(given.autoencoder) if given.autoencoder else None
    print(f"| % of {given.pictures} pictures each | {' | '.join(COLUMNS)} |")
    print("|---" * (len(COLUMNS) + 1) + "|")
    for held_out in (False, True):
        data = rendered_set(given.work, SEED, given.pictures, held_out)
        words = "held-out words" if held_out else "other words"
        print(line(f"{words}, renderings", accuracy(data)), flush=True)
        if restored:
            print(line(f"{words}, round trips", accuracy(data, restored)), flush=True)


if __name__ == "__main__":
    main()
