"""What edits of photos change and keep, against the truth: every way to edit, on still lifes with one thing changed.

    python dev.py bench editing [--set report] [--kind color] [--way REGEX] [--count N] [--sheet FOLDER]

An edit is right if the judge reads the attribute that the prompts name; "all" asks for every other attribute as well:
the objects' color, material, shape and size, floor, wall, the number of objects. What the judge cannot read in the
autoencoder's round trip of the truth is not asked for.
PSNR and SSIM compare with the truth: the edit as it is decoded with the autoencoder's round trip of the truth, and the
picture that a person gets ("result") with the truth itself. "kept" is what the change does not reach, "ring" the 12 pixels
around the objects and shadows in question, where rims show. Baselines get the help that Edit Image gives itself: what they
did not change is put back.

Settings are chosen on the set "tuning" and reported on "report": other seeds, more noise, other lamps. Results are
stored, one line an edit, in benchmarks/results/editing.jsonl, and measured again only for other weights or settings.
"""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _edit_ways import settings_text, ways
from _graph_run import GraphRun
from _host import environment, prepare
from _miniatures import CHECKPOINTS, Miniature, load
from _results import append, read
from _still_lifes import COUNTS, SETS, WHOLE, Case, as_bytes, cases, kept_region, named, shown
from torch import Tensor

RESULTS = "editing"
MOST_DECIBELS = 60.0
"""Of regions that are the same."""
Place = tuple[str, str, str, str, str, int]


@dataclass(frozen=True)
class Record:
    """One edit. The figures of a region that the kind does not have are NaN."""

    weights: str
    chosen: str
    kind: str
    way: str
    settings: str
    number: int
    named: bool
    all: bool
    whole: float
    ssim: float
    kept: float
    ring: float
    result_whole: float
    result_ssim: float
    result_kept: float
    result_ring: float
    rows: int
    seconds: float

    @property
    def place(self) -> Place:
        return self.weights, self.chosen, self.kind, self.way, self.settings, self.number


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", choices=SETS, default="report", dest="chosen")
    parser.add_argument("--kind", choices=COUNTS, action="append")
    parser.add_argument("--way", default="", help="only ways whose name matches this regular expression")
    parser.add_argument("--count", type=int, help="edits of each kind (default: 40 or 16)")
    parser.add_argument("--checkpoint", choices=CHECKPOINTS, default=CHECKPOINTS[0])
    parser.add_argument("--parts", type=Path, help="folder with the miniature's parts (default: the stored ones)")
    parser.add_argument("--sheet", type=Path, help="write source, truth and results of each kind's first edits here")
    parser.add_argument(
        "--plot", type=Path, help="write a plot of the kept region against success to this .svg or .png file"
    )
    options = parser.parse_args()
    prepare()
    print(f"{environment()}; {options.checkpoint}, set {options.chosen}\n")
    with torch.inference_mode():
        miniature = load(options.checkpoint, options.parts)
        for kind in options.kind or COUNTS:
            measure_missing(miniature, kind, options.chosen, options.way, options.count, options.sheet)
    print(*table(miniature.digest, options.chosen), sep="\n")
    if options.plot:
        plot(miniature.digest, options.chosen, options.plot)


def measure_missing(
    miniature: Miniature, kind: str, chosen: str, pattern: str, count: int | None, sheet: Path | None
) -> None:
    """Measure every way on the edits of a kind, except what is stored."""
    known = {Record(**figures).place for figures in read(RESULTS)}
    wanted = [name for name in ways() if re.search(pattern, name)]
    strips = []
    for number, case in enumerate(cases(kind, chosen, count)):
        places = [(miniature.digest, chosen, kind, name, settings_text(name, kind), number) for name in wanted]
        drawn = sheet is not None and number < 6
        if not drawn and known.issuperset(places):
            continue
        trip = miniature.round_trip(case.goal)
        readable = [name for name, right in shown(case, trip).items() if right]
        pictures = [case.photo, case.goal]
        for place in places:
            if drawn or place not in known:
                record, result = measure(miniature, case, trip, readable, place)
                pictures.append(result)
                if place not in known:
                    append(RESULTS, record)
        strips.append(np.concatenate([as_bytes(picture) for picture in pictures], axis=1))
        print(f"{kind}: {number + 1} edits", flush=True)
        if sheet is not None and drawn:
            _write_sheet(strips, sheet / f"{chosen}-{kind.replace(' ', '-')}.png")


def measure(miniature: Miniature, case: Case, trip: Tensor, readable: list[str], place: Place) -> tuple[Record, Tensor]:
    """The record of one way on one case, and its result."""
    graph, link = ways()[place[3]](case)
    given = {
        "model": miniature.model, "clip": miniature.clip, "vae": miniature.vae, "photo": case.photo, "mask": case.box
    }  # fmt: skip
    run, started = GraphRun(graph, given), time.perf_counter()
    with counted_rows(miniature.model) as rows:
        result = run.value(link)[:1].float().cpu()
    seconds = time.perf_counter() - started
    edit = run.value(run.input_of("RetracePixelComposite", "edited") or link)[:1].float().cpu()
    found = shown(case, result)
    about = [name for name in named(case) if name in readable]
    others = [name for name in readable if name not in about]
    figures = (*_fidelity(case, edit, trip), *_fidelity(case, result, case.goal))
    is_named = all(found[name] for name in about)
    record = Record(*place, is_named, is_named and all(found[name] for name in others), *figures, sum(rows), seconds)
    return record, result


@contextmanager
def counted_rows(model: Any) -> Iterator[list[int]]:  # noqa: ANN401
    """The rows of every pass through the network while this is open."""
    rows: list[int] = []
    network = model.get_model_object("diffusion_model")
    hook = network.register_forward_pre_hook(lambda module, arguments: rows.append(len(arguments[0])))
    try:
        yield rows
    finally:
        hook.remove()


def _fidelity(case: Case, picture: Tensor, goal: Tensor) -> tuple[float, float, float, float]:
    """PSNR and SSIM of the whole, PSNR of what is kept and of the ring."""
    from retrace_pack.measuring.compare import compare_images  # pyright: ignore[reportMissingImports]

    whole = compare_images(picture, goal)
    regions = [float("nan")] * 2
    if case.edit.kind not in WHOLE:
        ring = torch.from_numpy(case.truth.ring)[None].float()
        regions = [
            compare_images(picture, goal, mask, "inside").mean_psnr if bool(mask.any()) else float("nan")
            for mask in (kept_region(case, picture), ring)
        ]
    decibels = [min(value, MOST_DECIBELS) if value == value else value for value in (whole.mean_psnr, *regions)]
    return decibels[0], whole.mean_ssim, decibels[1], decibels[2]


def table(weights: str, chosen: str) -> Iterator[str]:
    """A line for each kind and way, over all edits stored with today's settings."""
    yield (
        "| kind | way | edits | named | all right | edit: whole, dB | SSIM | kept | ring "
        "| result: whole, dB | SSIM | kept | ring | rows | seconds |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|"
    for records in stored(weights, chosen):
        yield _row(records)


def stored(weights: str, chosen: str) -> Iterator[list[Record]]:
    """The edits of each kind and way that were made with today's settings."""
    found: dict[tuple[str, str], list[Record]] = {}
    for record in (Record(**figures) for figures in read(RESULTS)):
        if record.place[:2] == (weights, chosen) and record.settings == settings_text(record.way, record.kind):
            found.setdefault((record.kind, record.way), []).append(record)
    order = [list(COUNTS), list(ways())]
    for place in sorted(found, key=lambda place: [names.index(name) for names, name in zip(order, place, strict=True)]):
        yield found[place]


def plot(weights: str, chosen: str, path: Path) -> None:
    """What is kept in the picture that a person gets, against how often the named attribute is right; img2img apart."""
    from _plots import Mark, success

    marks = []
    for records in stored(weights, chosen):
        named, kept = (np.mean([getattr(each, figure) for each in records]) for figure in ("named", "result_kept"))
        if records[0].kind not in WHOLE:
            marks.append(Mark(records[0].kind, records[0].way, float(named), float(kept)))
    if not marks:
        raise SystemExit("no plot: no stored edit is of a kind of which something is kept")
    success(marks, "img2img", path)


def _row(records: list[Record]) -> str:
    def mean(figure: str) -> float:
        return float(np.nanmean([getattr(each, figure) for each in records]))

    def decibels(figure: str) -> str:
        values = [getattr(each, figure) for each in records]
        return "-" if all(value != value for value in values) else f"{mean(figure):.1f}"

    first = records[0]
    cells = [first.kind, first.way, f"{len(records)}", f"{100 * mean('named'):.0f} %", f"{100 * mean('all'):.0f} %"]
    for prefix in ("", "result_"):
        cells += [decibels(f"{prefix}whole"), f"{mean(f'{prefix}ssim'):.3f}"]
        cells += [decibels(f"{prefix}kept"), decibels(f"{prefix}ring")]
    cells += [f"{mean('rows'):.0f}", f"{mean('seconds'):.1f}"]
    return f"| {' | '.join(cells)} |"


def _write_sheet(strips: list[np.ndarray], path: Path) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    widest = max(strip.shape[1] for strip in strips)
    Image.fromarray(np.concatenate([strip for strip in strips if strip.shape[1] == widest])).save(path)


if __name__ == "__main__":
    main()
