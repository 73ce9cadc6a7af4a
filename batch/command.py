"""Many photos through one workflow, resumable: the same command goes on where it stopped.

    python scripts/batch.py photos.csv --workflow "5 New style" --output edited --set "Target prompt.value={after}"

INPUT is a folder of photos or a table (.csv, .jsonl) with a column `image` and any others. --set fills an input of a node, by the
node's title, from columns in braces. The workflow is a shipped template or a file from Workflow > Export (API).
OUT then holds images/, report.html, sheet.jpg, failed.csv and ledger.jsonl.

Exit status: 0 all done, 1 some failed, 2 nothing begun, 3 given up, 130 stopped.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from .api import ComfyApi, ComfyError
from .defaults import default_settings
from .drive import NOTHING_BEGUN, Progress, Stop, drive
from .items import InputError, Item, read_items
from .ledger import Ledger
from .pools import OneWorker
from .report import write_report
from .server import ComfyServer
from .tasks import Task, tasks_of
from .worker import ComfyWorker
from .workflow import Setting, as_prompt, read_workflow

PACK = Path(__file__).resolve().parent.parent


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    options = _parser().parse_args(arguments)
    try:
        items = read_items(options.input)[: options.limit]
        workflow = read_workflow(options.workflow)
        settings = [Setting.parse(text) for text in options.set]
        worker = ComfyWorker(lambda: _connected(options), options.timeout)
    except (InputError, ComfyError) as error:
        print(error, file=sys.stderr)
        return NOTHING_BEGUN
    try:
        return _run(options, items, workflow, settings, worker)
    except (InputError, ComfyError) as error:
        print(error, file=sys.stderr)
        return NOTHING_BEGUN
    finally:
        worker.stop()


def _run(
    options: argparse.Namespace, items: list[Item], workflow: dict, settings: list[Setting], worker: ComfyWorker
) -> int:
    graph = as_prompt(workflow, worker.node_definitions())
    given = {(setting.title, setting.input) for setting in settings}
    defaults = default_settings(graph, items) if not options.set else []
    settings += [setting for setting in defaults if (setting.title, setting.input) not in given]
    tasks = tasks_of(items, graph, settings)
    job = {"workflow": options.workflow, "set": sorted(options.set), **worker.facts()}
    if options.dry_run:
        print(f"{len(tasks)} items are ready; nothing was run.")
        return 0
    with Ledger(options.output, job) as ledger, _stopping() as stop:
        left = [task for task in tasks if _is_left(task, ledger, options.retry_failed)]
        print(f"{len(tasks)} items, {len(tasks) - len(left)} of them done before.")
        pool = OneWorker(worker)
        try:
            status = drive(pool, left, ledger, stop, _tell, options.max_failures)
        finally:
            pool.close()
            write_report(options.output, tasks, ledger.entries)
    print(f"\nSee {options.output / 'report.html'}.")
    return status


def _is_left(task: Task, ledger: Ledger, retry_failed: bool) -> bool:
    entry = ledger.entries.get(task.key)
    return entry is None or (retry_failed and entry.status == "failed")


def _tell(progress: Progress) -> None:
    print(f"\r{progress.line()}", end="", flush=True)


@contextmanager
def _stopping() -> Iterator[Stop]:
    """Ctrl-C and SIGTERM: the first finishes what is in work, the second ends at once."""
    stop = Stop()
    earlier = {number: signal.signal(number, lambda *_: stop.ask()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def _connected(options: argparse.Namespace) -> ComfyApi:
    """A server that runs already, or one of our own with ComfyUI's models and packs and this pack."""
    if options.server:
        api = ComfyApi()
        api.url = options.server.rstrip("/")
        api.get("/system_stats")
        return api
    if options.comfyui is None:
        raise InputError(["give the folder of ComfyUI with --comfyui, or the address of a running one with --server."])
    packs = {path.name: path for path in (options.comfyui / "custom_nodes").glob("*") if path.is_dir()}
    packs = {name: path for name, path in packs.items() if path.resolve() != PACK and name != "__pycache__"}
    models = {path.name: path for path in (options.models or options.comfyui / "models").glob("*") if path.is_dir()}
    folder = options.output / "work"
    folder.mkdir(parents=True, exist_ok=True)
    extra = {path.name: path for path in options.pack}
    server = ComfyServer(
        options.comfyui,
        {**packs, **extra, "retrace": PACK},
        models,
        arguments=options.comfyui_argument,
        parent=folder,
        every_pack_loads=False,
        followed=False,
    )
    server.start()
    return server


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="batch.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("input", type=Path, metavar="INPUT", help="a folder of photos, a .csv or a .jsonl file")
    parser.add_argument("--workflow", required=True, help="a shipped template's name, or a file in API format")
    parser.add_argument("--output", type=Path, required=True, metavar="OUT")
    parser.add_argument("--set", action="append", default=[], metavar='"TITLE.INPUT={COLUMN}"')
    parser.add_argument("--server", help="the address of a running ComfyUI, for example http://127.0.0.1:8188")
    comfyui = os.environ.get("COMFYUI_PATH")
    parser.add_argument("--comfyui", type=Path, default=comfyui and Path(comfyui), help="default: COMFYUI_PATH")
    parser.add_argument("--models", type=Path, help="a folder such as ComfyUI/models, instead of that")
    parser.add_argument("--pack", type=Path, action="append", default=[], help="a further custom node pack's folder")
    parser.add_argument("--comfyui-argument", action="append", default=[], metavar="ARGUMENT")
    parser.add_argument("--limit", type=int, help="only the first rows")
    parser.add_argument("--dry-run", action="store_true", help="check all rows, run none")
    parser.add_argument("--retry-failed", action="store_true", help="try failed rows again")
    parser.add_argument("--timeout", type=float, default=1800.0, help="seconds for one item (default 1800)")
    parser.add_argument("--max-failures", type=int, default=10, help="equal failures in a row that end the batch")
    return parser
