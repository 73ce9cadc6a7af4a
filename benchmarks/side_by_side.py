"""The same work with diffusers, with core's nodes and with ours, on the same weights, beside the bare network calls.

    python dev.py bench side_by_side [--layout tiny_sd15] [--row NAME] [--size 256] [--batch 1] [--steps 20] [--rounds 5]

Prompts are encoded beforehand. Nobody has a progress bar; all run under inference mode, in the same dtype and memory format, with
torch's own attention. "own" is what a run takes outside its network calls, which are timed by hooks on either network. The
contenders take turns; times are medians (lowest to highest), ratios the medians of the rounds' ratios: to the bare calls of the
same network, and to diffusers. "MB" is the most memory that tensors take at once, beyond weights and prompts. "difference" is the
largest one to diffusers' result, relative to its largest value. `--layout sd15` has SD1.5's full size and random weights.
`--processor-time` counts the processor's time in place of the clock's, for a machine that has other work.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator, Mapping

import torch
from _contest import Measured, contest, difference, ratio, wall_clock
from _host import environment, prepare

CFG = 7.5
ALLOWED = 1.02


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layout", choices=("tiny_sd15", "sd15"), default="tiny_sd15")
    parser.add_argument("--row", action="append", help="only this row; may be given several times")
    parser.add_argument("--size", type=int, default=256, help="side of the image in pixels, a multiple of 64")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--steps", type=int, default=20, help="a divisor of 1000, for core's schedule to be DDIM's")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--processor-time", action="store_true")
    options = parser.parse_args()
    prepare()
    import comfy.utils
    from _side_models import LAYOUTS, task_of
    from _side_rows import OF_ANY_LAYOUT, ROWS

    comfy.utils.PROGRESS_BAR_ENABLED = False
    print(f"{environment()}; {options.layout}, {options.size} x {options.size}, batch {options.batch}")
    pair = LAYOUTS[options.layout]()
    with torch.inference_mode():
        task = task_of(pair, options.size, options.batch, options.steps, CFG)
        clock = time.process_time if options.processor_time else wall_clock
        every = ROWS if pair.clip else OF_ANY_LAYOUT
        for name in options.row or every:
            found = contest(ROWS[name](pair, task), options.rounds, clock)
            print(f"\n{name}: {options.steps} steps, {options.rounds} rounds\n", *table(found), sep="\n", flush=True)


def table(found: Mapping[str, Measured]) -> Iterator[str]:
    """A line for each contender, and the targets."""
    yield "| | whole run, s | in the network, s | own, ms | to bare calls | to diffusers | MB | difference |"
    yield "|---|---|---|---|---|---|---|---|"
    theirs = found["diffusers"]
    for each in found.values():
        calls_only = each.name == each.bare
        cells = (
            each.name,
            spread(each.whole, 3),
            spread(each.inside, 3),
            spread([1000 * seconds for seconds in each.own], 1),
            "" if calls_only else f"{ratio(each.whole, found[each.bare].whole):.3f}",
            f"{ratio(each.whole, theirs.whole):.3f}",
            f"{each.peak / 2**20:.1f}",
            "" if calls_only or each is theirs else f"{difference(each.result, theirs.result):.1e}",
        )
        yield f"| {' | '.join(cells)} |"
    for each in found.values():
        if each.name.startswith("our"):
            yield from targets(each, found)


def targets(ours: Measured, found: Mapping[str, Measured]) -> Iterator[str]:
    theirs = found["diffusers"]
    own = ratio(ours.own, theirs.own)
    yield f"\n{ours.name}: own time {own:.2f} x diffusers' (target: at most 1, {verdict(own, 1)})"
    for name, other in (("the bare calls", found[ours.bare]), ("diffusers", theirs)):
        whole = ratio(ours.whole, other.whole)
        yield f"{ours.name}: whole run {whole:.3f} x {name} (target: at most {ALLOWED}, {verdict(whole, ALLOWED)})"


def verdict(value: float, allowed: float) -> str:
    return "met" if value <= allowed else "missed"


def spread(values: list[float], digits: int) -> str:
    middle, low, high = (f"{value:.{digits}f}" for value in (statistics.median(values), min(values), max(values)))
    return f"{middle} ({low} to {high})"


if __name__ == "__main__":
    main()
