"""How often the judge is right on fresh renderings: `python -m world.measure_judge --work FOLDER` beside this folder.

`--autoencoder FILE` adds the round trips of an AutoencoderTiny, given as the trainer's state dict (its `autoencoder.pt`).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderTiny

from .judge import ATTRIBUTES, GROUND, judge_all
from .judge_set import JudgeSet, rendered_set

SEED = 7
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


def round_trip_through(file: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Pictures uint8 [B, H, W, 3] through encoder and decoder of four channels."""
    model = AutoencoderTiny(latent_channels=4, scaling_factor=1.0)
    model.load_state_dict(torch.load(file, weights_only=True))

    @torch.no_grad()
    def altered(pictures: np.ndarray) -> np.ndarray:
        given = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1
        restored = model.decoder(model.encoder(given)).clamp(-1, 1)
        return ((restored + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()

    return altered


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="where the renderings are kept")
    parser.add_argument("--pictures", type=int, default=PICTURES)
    parser.add_argument("--autoencoder", type=Path)
    given = parser.parse_args()
    data = rendered_set(given.work, SEED, given.pictures)
    report("renderings", data)
    if given.autoencoder:
        report("round trips", data, round_trip_through(given.autoencoder))


if __name__ == "__main__":
    main()
