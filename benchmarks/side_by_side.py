"""The same work with diffusers, with core's nodes and with ours, on the same weights, beside the bare network calls.

    python dev.py bench side_by_side [--layout tiny_sd15] [--row NAME] [--size 256] [--steps 20] [--rounds 5] [--growth FILE]

Prompts are encoded beforehand. Nobody has a progress bar; all run under inference mode, in the same dtype and memory format, with
torch's own attention. "own" is what a run takes outside its network calls, which are timed by hooks on either network. The
contenders take turns; times are medians (lowest to highest), ratios the medians of the rounds' ratios: to the bare calls of the
same network, and to diffusers. "MB" is the most memory that tensors take at once, beyond weights and prompts. "difference" is the
largest one to diffusers' result, relative to its largest value. `--layout sd15` has SD1.5's full size and random weights.
The flow has Flux' layout at the miniature's size and random weights. `--growth` repeats sampling over steps, sizes and batches,
and plots it. `--processor-time` counts the processor's time in place of the clock's, for a machine that has other work.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from pathlib import Path

import torch
from _contest import Measured, contest, difference, ratio, wall_clock
from _host import environment, prepare

CFG = 7.5
ALLOWED = 1.02
FLOW = "flow, euler"
GROWTH = {"steps": (5, 10, 20), "size": (128, 256, 384), "batch": (1, 2, 4)}


def main() -> None:
    options = parsed()
    prepare()
    import comfy.utils
    from _side_flow import flow_euler, random_flow
    from _side_models import LAYOUTS, task_of
    from _side_rows import NOT_GROWN, OF_ANY_LAYOUT, ONE_PICTURE, ROWS

    comfy.utils.PROGRESS_BAR_ENABLED = False
    clock = time.process_time if options.processor_time else wall_clock
    print(f"{environment()}; {options.layout}, {'processor' if options.processor_time else 'wall'} time")
    pair = LAYOUTS[options.layout]()

    def measured(name: str, steps: int, size: int, batch: int, left_out: Collection[str] = ()) -> dict[str, Measured]:
        if name == FLOW:
            contenders = flow_euler(random_flow(size, batch), steps)
        else:
            contenders = ROWS[name](pair, task_of(pair, size, 1 if name in ONE_PICTURE else batch, steps, CFG))
        return contest([each for each in contenders if each.name not in left_out], options.rounds, clock)

    usual = {"steps": options.steps, "size": options.size, "batch": options.batch}
    with torch.inference_mode():
        if options.growth:
            grow(partial(measured, "sampling", left_out=NOT_GROWN), usual, options.growth)
            return
        for name in options.row or ((*ROWS, FLOW) if pair.clip else OF_ANY_LAYOUT):
            print(f"\n{name}: {settings(usual)}, {options.rounds} rounds\n")
            print(*table(measured(name, **usual)), sep="\n", flush=True)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layout", choices=("tiny_sd15", "sd15"), default="tiny_sd15")
    parser.add_argument("--row", action="append", help="only this row; may be given several times")
    parser.add_argument("--size", type=int, default=256, help="side of the image in pixels, a multiple of 64")
    parser.add_argument("--batch", type=int, default=1, help="null-text and prompt-to-prompt always have one picture")
    parser.add_argument("--steps", type=int, default=20, help="a divisor of 1000, for core's schedule to be DDIM's")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--growth", type=Path, metavar="FILE", help="plot growth to this .svg or .png file, and do no more"
    )
    parser.add_argument("--processor-time", action="store_true")
    return parser.parse_args()


def grow(measured: Callable[..., dict[str, Measured]], usual: Mapping[str, int], path: Path) -> None:
    """Sampling with one setting changed at a time: a table, and a plot."""
    from _plots import growth

    lines: dict[str, dict[str, dict[str, list[tuple[float, float]]]]] = {}
    print("\n| | | whole run, s | own, ms | MB |\n|---|---|---|---|---|")
    for quantity, values in GROWTH.items():
        for value in values:
            changed = {**usual, quantity: value}
            for name, each in measured(**changed).items():
                figures = (statistics.median(each.whole), 1000 * statistics.median(each.own), each.peak / 2**20)
                print(
                    f"| {settings(changed)} | {name} | {figures[0]:.3f} | {figures[1]:.1f} | {figures[2]:.1f} |",
                    flush=True,
                )
                for measure, figure in zip(("whole run, s", "own time, ms", "peak memory, MB"), figures, strict=True):
                    lines.setdefault(measure, {}).setdefault(quantity, {}).setdefault(name, []).append((value, figure))
    growth(lines, path)


def settings(chosen: Mapping[str, int]) -> str:
    return f"{chosen['steps']} steps, {chosen['size']} x {chosen['size']}, batch {chosen['batch']}"


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
