"""PIE-Bench: edits of its 700 images by the batch runner, and its table.

    python dev.py bench piebench --data FOLDER --output FOLDER --checkpoint FILE --networks FOLDER [--methods NAME ...]

--data holds mapping_file.json and annotation_images/. --networks holds dino-vitb8/ and clip-vit-large-patch14/ in the format of
transformers, squeezenet1_1-b8a52dc0.pth (torchvision's) and squeeze.pth (weights/v0.1 of the package lpips); without it, only
the edits are made. Both passes resume: what is done is not done again. A method can be NAME=FILE, any workflow in API format
with nodes titled "Source prompt" and "Target prompt". Where the ComfyUI is, and how many: options as of scripts/batch.py.

Each method has two rows: its edits as JPEG, as in the paper, and as they are. Identical pictures have no PSNR.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import numpy as np
import torch
from _host import ROOT

sys.path.insert(0, str(ROOT / "demo"))
import batch_package  # noqa: F401  (makes batch/ importable)
from _pie_methods import COLUMNS, METHODS, Method, method_of
from _pie_metrics import Networks, as_published
from PIL import Image

from batch.api import ComfyError
from batch.defaults import default_settings
from batch.items import InputError, Item, read_items
from batch.ledger import read_lines
from batch.pie_bench import decode_mask, read_entries
from batch.places import add_options, pool_of
from batch.pools import NoWorkersError, Pool
from batch.running import run_tasks
from batch.tasks import tasks_of

UNITS = {"structure": 1e3, "psnr": 1, "lpips": 1e3, "mse": 1e4, "ssim": 1e2, "clip_whole": 1, "clip_edited": 1}
HEADER = ("structure x 1e3", "PSNR", "LPIPS x 1e3", "MSE x 1e4", "SSIM x 1e2", "CLIP whole", "CLIP edited")
VARIANTS = {"jpeg": as_published, "lossless": lambda image: image}


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    if options.data is None:
        print("piebench needs --data, the folder of mapping_file.json, and --output; nothing was run.")
        return 0
    try:
        methods = {name: method_of(name) for name in options.methods}
        items = read_items(options.data / "mapping_file.json")
        chosen = items[:: max(1, len(items) // options.count)][: options.count] if options.count else items
        status = edit(options, methods, chosen)
    except (InputError, ComfyError, NoWorkersError) as error:
        print(error, file=sys.stderr)
        return 2
    if options.networks is not None and status in (0, 1):
        networks = Networks.load(options.networks, options.device)
        for name in methods:
            measure(networks, options.data, folder_of(options.output, name), chosen)
        print("\n" + table(options.output, methods))
        (options.output / "table.md").write_text(table(options.output, methods), encoding="utf-8")
    return status


def edit(options: argparse.Namespace, methods: dict[str, Method], items: list[Item]) -> int:
    """Make the edits of all methods with one pool of workers; the worst exit status of their batches."""
    status = 0
    with closing(pool_of(options, [options.set, options.checkpoint or ""])) as pool:
        for name, method in methods.items():
            print(f"\n{_label(name)}")
            status = max(status, _edit(options, pool, method, folder_of(options.output, name), items))
            if status > 1:
                break
    return status


def _edit(options: argparse.Namespace, pool: Pool, method: Method, folder: Path, items: list[Item]) -> int:
    graph = method.graph(pool.node_definitions())
    more = [*([f"Checkpoint.ckpt_name={options.checkpoint}"] if options.checkpoint else []), *options.set]
    settings = method.all_settings(more)
    settings += default_settings(graph, items, settings)
    job = {
        "workflow": method.template,
        "set": [f"{each.title}.{each.input}={each.value}" for each in settings],
        **pool.facts(),
    }
    return run_tasks(pool, tasks_of(items, graph, settings), folder, job)


def measure(networks: Networks, data: Path, folder: Path, items: list[Item]) -> None:
    """Append a line to metrics.jsonl for each edit that has none yet."""
    entries, path = read_entries(data / "mapping_file.json"), folder / "metrics.jsonl"
    measured = {line["id"] for line in read_lines(path)}
    edits = {line["row"]["id"]: line["files"] for line in read_lines(folder / "ledger.jsonl") if line["files"]}
    left = [item for item in items if item.values["id"] in edits and item.values["id"] not in measured]
    with path.open("a", encoding="utf-8") as file:
        for number, item in enumerate(left, 1):
            name = item.values["id"]
            source, result = (_pixels(each) for each in (item.image, folder / "images" / edits[name][0]))
            if source.shape != result.shape:
                raise InputError([f"{name}: the edit is {result.shape}, but the image {source.shape}."])
            mask = decode_mask(entries[name].get("mask", ()), *source.shape[:2])
            found = {
                variant: networks.measure(source, change(result), mask, item.values["after"])
                for variant, change in VARIANTS.items()
            }
            file.write(json.dumps({"id": name, **found}) + "\n")
            file.flush()
            print(f"\r{folder.name}: {number} of {len(left)} measured", end="", flush=True)


def table(output: Path, methods: Iterable[str]) -> str:
    """Markdown: for each method the means of both variants, and the paper's row where there is one."""
    lines = [f"| method | edits | {' | '.join(HEADER)} |", f"| --- | --- |{' --- |' * len(HEADER)}"]
    for name in methods:
        measured = read_lines(folder_of(output, name) / "metrics.jsonl")
        for variant in VARIANTS:
            means = [_mean([line[variant][column] for line in measured], column) for column in COLUMNS]
            lines.append(f"| {_label(name)}, {variant} | {len(measured)} | {' | '.join(means)} |")
        if published := method_of(name).published:
            lines.append(f"| {name}, published | 700 | {' | '.join(f'{each:.2f}' for each in published)} |")
    return "\n".join(lines) + "\n"


def _mean(values: list[float], column: str) -> str:
    finite = [value for value in values if math.isfinite(value)]
    left_out = len(values) - len(finite)
    mean = f"{UNITS[column] * sum(finite) / len(finite):.2f}" if finite else "-"
    return f"{mean} ({left_out} without)" if left_out else mean


def _label(name: str) -> str:
    return name.partition("=")[0]


def folder_of(output: Path, name: str) -> Path:
    """Where a method's edits and metrics are."""
    return output / _label(name)


def _pixels(path: Path | None) -> np.ndarray:
    assert path is not None
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="the folder of mapping_file.json")
    parser.add_argument("--output", type=Path, default=Path("piebench"))
    parser.add_argument("--methods", nargs="+", default=list(METHODS), metavar="NAME", help=f"of {', '.join(METHODS)}")
    parser.add_argument("--checkpoint", help="a checkpoint's name in ComfyUI; default: the templates' own")
    parser.add_argument("--networks", type=Path, help="the folder of the metrics' networks")
    parser.add_argument("--count", type=int, help="as many images, evenly from all types; default: all")
    parser.add_argument("--set", action="append", default=[], metavar='"TITLE.INPUT=VALUE"')
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    add_options(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
