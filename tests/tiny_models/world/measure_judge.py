"""How often the judge is right on fresh renderings: `python -m world.measure_judge --work FOLDER` beside this folder.

`accuracy` takes the same pictures altered, such as the round trips of an autoencoder.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np

from .judge import ATTRIBUTES, GROUND, judge_all
from .judge_set import JudgeSet, rendered_set

SEED = 2
PICTURES = 600


def accuracy(data: JudgeSet, altered: Callable[[np.ndarray], np.ndarray] = np.asarray) -> dict[str, float]:
    """Share of right answers by attribute (of solids that are there, a solid not found is wrong), and of right counts."""
    right: dict[str, list[bool]] = {name: [] for name in (*GROUND, *ATTRIBUTES, "count")}
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


def report(title: str, data: JudgeSet, altered: Callable[[np.ndarray], np.ndarray] = np.asarray) -> None:
    figures = accuracy(data, altered)
    print(f"{title}, {len(data.pictures)} pictures: " + ", ".join(f"{k} {100 * v:.1f} %" for k, v in figures.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="where the renderings are kept")
    parser.add_argument("--pictures", type=int, default=PICTURES)
    given = parser.parse_args()
    report("renderings", rendered_set(given.work, SEED, given.pictures))


if __name__ == "__main__":
    main()
