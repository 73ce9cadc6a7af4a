"""Which method reconstructs an image under guidance, what it costs, and how editable the result remains.

    python dev.py bench reconstruction [--set report] [--scenes 64] [--checkpoint tiny_sd15] [--only REGEX] [--plot FILE]

Still lifes on the miniatures, 50 steps, cfg 7.5. PSNR (dB) is that of the decoded reconstruction, against the
VAE's own round trip and against the image; MSE is that of the latent. UNet work counts a forward pass as 1 and a backward pass
as 2, per image, inversion and reconstruction together. "kept" is the size of the trajectory, "graph" is what autograd saves in
one pass. "all at cfg 1" inverts and reconstructs at cfg 1, and edits at 7.5. The edit changes a solid's color from step 10 of
50 on: measured are how often the judge reads the new color, and the PSNR of what the change does not reach against the VAE round
trip.

A full run takes hours on a CPU. Results are stored, eight photos a line, in benchmarks/results/reconstruction.jsonl and are
not measured again while the checkpoint stays the same; the table is made from what is there.
"""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from _host import environment, prepare
from _miniatures import CHECKPOINTS, Miniature, load
from _rebuilding import CFG, STEPS, Case, Prepare, Prepared, continued, methods, trajectory_bytes
from _results import append, read
from _still_lifes import SETS, cases, kept_region, named, shown
from torch import Tensor

RESULTS = "reconstruction"
GROUP = 8
EDIT_START = 0.2
EXACT = 150.0
"""Where the plot shows what has no error at all, in dB."""
COLUMNS = (
    "method", "scenes", "to VAE round trip", "to image", "latent MSE", "UNet work", "s an image", "kept MB", "graph MB",
    "color changed", "what is kept",
)  # fmt: skip


@dataclass(frozen=True)
class Record:
    """The means of one method over one group of photos."""

    weights: str
    chosen: str
    method: str
    group: int
    scenes: int
    to_roundtrip: float
    to_image: float
    latent_mse: float
    work: float
    seconds: float
    kept_mb: float
    graph_mb: float
    changed: float
    outside: float

    @property
    def place(self) -> tuple[str, str, str, int, int]:
        return self.weights, self.chosen, self.method, self.group, self.scenes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", choices=SETS, default="report", dest="chosen")
    parser.add_argument("--scenes", type=int, default=64)
    parser.add_argument("--checkpoint", choices=CHECKPOINTS, action="append")
    parser.add_argument("--only", default="", help="only methods whose name matches this regular expression")
    parser.add_argument(
        "--plot", type=Path, help="write a plot of every method's fidelity against its work to this file"
    )
    options = parser.parse_args()
    prepare()
    print(f"{environment()}; {options.scenes} photos of the set {options.chosen}, {STEPS} steps, cfg {CFG}", flush=True)
    tables = {}
    for name in options.checkpoint or CHECKPOINTS:
        miniature = load(name)
        measure_missing(miniature, name, options.chosen, options.scenes, options.only)
        tables[name] = table(miniature.digest, options.chosen, options.scenes)
        print(f"\n{name}\n\n| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
        print(*(row_text(row, scenes) for row, scenes in tables[name]), sep="\n", flush=True)
    if options.plot:
        plot(tables, options.plot)


def measure_missing(miniature: Miniature, name: str, chosen: str, scenes: int, only: str) -> None:
    """Measure every method on every group of photos, group by group, except those already recorded."""
    weights, known = miniature.digest, {record.place for record in records()}
    edits = cases("color", chosen, scenes)
    pictures = torch.cat([case.photo for case in edits])
    with torch.inference_mode():
        samples = miniature.vae.encode(pictures)
        everything = Case(miniature.model, miniature.clip, miniature.vae, edits, pictures, samples)
        for group, first in enumerate(range(0, scenes, GROUP)):
            case = everything.part(slice(first, first + GROUP))
            for method, prepared, batched in methods():
                place = (weights, chosen, method, group, len(case.edits))
                if not re.search(only, method) or place in known:
                    continue
                record = measure(case, prepared, batched, place)
                print(f"{name}, group {group}, {row_text(record, record.scenes)}", flush=True)
                append(RESULTS, record)


def records() -> Iterator[Record]:
    return (Record(**figures) for figures in read(RESULTS))


def table(weights: str, chosen: str, scenes: int) -> list[tuple[Record, int]]:
    """One record per method: the means over the groups of the first photos, and how many photos those are."""
    rows = []
    for method, *_ in methods():
        found = [each for each in records() if each.place[:3] == (weights, chosen, method)]
        found = [each for each in found if each.scenes == min(GROUP, scenes - each.group * GROUP)]
        if found:
            count = [each.scenes for each in found]
            means = {
                field.name: float(np.average([getattr(each, field.name) for each in found], weights=count))
                for field in fields(Record)
                if field.type == "float"
            }
            rows.append((replace(found[0], **means), sum(count)))
    return rows


def row_text(record: Record, scenes: int) -> str:
    cells = (
        record.method, f"{scenes}", f"{record.to_roundtrip:.2f}", f"{record.to_image:.2f}", f"{record.latent_mse:.1e}",
        f"{record.work:.0f}", f"{record.seconds:.1f}", f"{record.kept_mb:.2f}",
        f"{record.graph_mb:.0f}" if record.graph_mb else "-", f"{100 * record.changed:.0f} %", f"{record.outside:.2f}",
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def measure(case: Case, prepare_part: Prepare, batched: bool, place: tuple[str, str, str, int, int]) -> Record:
    from retrace_pack.measuring.compare import compare_images  # pyright: ignore[reportMissingImports]

    count = len(case.edits)
    parts = [case] if batched else [case.part(slice(index, index + 1)) for index in range(count)]
    rebuilt, edited, works, seconds, kept, graph = [], [], [], 0.0, 0, 0
    for part in parts:
        started = time.perf_counter()
        prepared = prepare_part(part)
        latents, work = continued(prepared, part.source, 0.0)
        seconds += time.perf_counter() - started
        rebuilt.append(latents)
        works.append(prepared.work + work)
        kept += trajectory_bytes(prepared.trajectory)
        graph = max(graph, prepared.graph_bytes)
        edited.append(edit(part, prepared))
    latents = torch.cat(rebuilt)
    roundtrip, decoded = case.vae.decode(case.samples), case.vae.decode(latents)
    changed, outside = judge_edits(case, case.vae.decode(torch.cat(edited)), roundtrip)
    return Record(
        *place,
        to_roundtrip=compare_images(decoded, roundtrip).mean_psnr,
        to_image=compare_images(decoded, case.pictures).mean_psnr,
        latent_mse=float((latents - case.samples).square().mean()),
        work=float(np.mean(works)), seconds=seconds / count, kept_mb=kept / count / 2**20, graph_mb=graph / 2**20,
        changed=changed, outside=outside,
    )  # fmt: skip


def edit(part: Case, prepared: Prepared) -> Tensor:
    """Latents of the photos with the solid in another color, at the table's guidance."""
    targets = part.prompts([case.edit.after for case in part.edits])
    return continued(replace(prepared, cfg=CFG), targets, EDIT_START)[0]


def judge_edits(part: Case, edited: Tensor, roundtrip: Tensor) -> tuple[float, float]:
    """The fraction of pictures with the new color, and the mean PSNR of what the change does not reach."""
    from retrace_pack.measuring.compare import compare_images  # pyright: ignore[reportMissingImports]

    hits, outside = [], []
    for case, picture, before in zip(part.edits, edited.split(1), roundtrip.split(1), strict=True):
        found = shown(case, picture)
        hits.append(all(found[name] for name in named(case)))
        outside.append(compare_images(picture, before, kept_region(case, picture), "inside").mean_psnr)
    return float(np.mean(hits)), float(np.mean(outside))


def plot(tables: dict[str, list[tuple[Record, int]]], path: Path) -> None:
    """Fidelity against work, a mark for each method, the checkpoints side by side."""
    from _plots import fidelity

    def places(rows: list[tuple[Record, int]]) -> dict[str, tuple[float, float]]:
        return {row.method: (row.work, min(row.to_roundtrip, EXACT)) for row, _ in rows}

    fidelity({name: places(rows) for name, rows in tables.items()}, path)


if __name__ == "__main__":
    main()
