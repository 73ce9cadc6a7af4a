"""Many photos through one workflow, resumable: the same command goes on where it stopped.

    python scripts/batch.py photos.csv --workflow "5 New style" --output edited --set "Target prompt.value={after}"

INPUT is a folder of photos or a table (.csv, .jsonl) with a column `image` and any others. --set fills an input of a node, by the
node's title, from columns in braces. The workflow is a shipped template or a file from Workflow > Export (API).
OUT then holds images/, report.html, sheet.jpg, failed.csv and ledger.jsonl.

Exit status: 0 all done, 1 some failed, 2 nothing begun, 3 given up, 130 stopped.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from .api import ComfyApi, ComfyError
from .defaults import default_settings
from .drive import GIVEN_UP, NOTHING_BEGUN, Progress, Stop, drive
from .installation import Installation
from .items import InputError, Item, read_items
from .ledger import Ledger
from .pools import NoWorkersError, OneWorker, Pool
from .report import write_report
from .tasks import Task, tasks_of
from .worker import ComfyWorker
from .workflow import Setting, as_prompt, model_files, read_workflow

PACK = Path(__file__).resolve().parent.parent


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    options = _parser().parse_args(arguments)
    try:
        items = read_items(options.input)[: options.limit]
        workflow = read_workflow(options.workflow)
        settings = [Setting.parse(text) for text in options.set]
        with closing(_pool(options, workflow)) as pool:
            return _run(options, items, workflow, settings, pool)
    except (InputError, ComfyError, NoWorkersError) as error:
        print(error, file=sys.stderr)
        return NOTHING_BEGUN


def _run(options: argparse.Namespace, items: list[Item], workflow: dict, settings: list[Setting], pool: Pool) -> int:
    graph = as_prompt(workflow, pool.node_definitions())
    given = {(setting.title, setting.input) for setting in settings}
    defaults = default_settings(graph, items) if not options.set else []
    settings += [setting for setting in defaults if (setting.title, setting.input) not in given]
    tasks = tasks_of(items, graph, settings)
    job = {"workflow": options.workflow, "set": sorted(options.set), **pool.facts()}
    if options.dry_run:
        print(f"{len(tasks)} items are ready; nothing was run.")
        return 0
    with Ledger(options.output, job) as ledger, _stopping() as stop:
        left = [task for task in tasks if _is_left(task, ledger, options.retry_failed)]
        print(f"{len(tasks)} items, {len(tasks) - len(left)} of them done before.")
        try:
            status = drive(pool, left, ledger, stop, _tell, options.max_failures)
        except NoWorkersError as error:
            print(f"\n{error}", file=sys.stderr)
            status = GIVEN_UP
        finally:
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


def _pool(options: argparse.Namespace, workflow: dict) -> Pool:
    """One worker, with a server of its own or one that is already running, or Ray's."""
    if options.server:
        if options.workers or options.ray_address:
            raise InputError(["--workers start a ComfyUI each; leave out --server."])
        return OneWorker(ComfyWorker(lambda: _running(options.server), options.timeout))
    installation = _installation(options)
    if not options.workers and not options.ray_address:
        return OneWorker(ComfyWorker(installation.server, options.timeout))
    from .ray_pool import Cluster, RayPool

    cluster = Cluster(options.workers or 1, options.ray_address, options.gpus_per_worker)
    return RayPool(cluster, installation, options.timeout, model_files([workflow, options.set]))


def _installation(options: argparse.Namespace) -> Installation:
    return Installation(
        PACK,
        options.comfyui and options.comfyui.resolve(),
        options.models and options.models.resolve(),
        tuple(path.resolve() for path in options.pack),
        tuple(options.comfyui_argument),
        None if options.ray_address else options.output.resolve() / "work",
    )


def _running(url: str) -> ComfyApi:
    api = ComfyApi()
    api.url = url.rstrip("/")
    api.get("/system_stats")
    return api


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="batch.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("input", type=Path, metavar="INPUT", help="a folder of photos, a .csv or a .jsonl file")
    parser.add_argument("--workflow", required=True, help="a shipped template's name, or a file in API format")
    parser.add_argument("--output", type=Path, required=True, metavar="OUT")
    parser.add_argument("--set", action="append", default=[], metavar='"TITLE.INPUT={COLUMN}"')
    parser.add_argument("--server", help="the address of a running ComfyUI, for example http://127.0.0.1:8188")
    parser.add_argument("--comfyui", type=Path, help="the folder of ComfyUI; default: COMFYUI_PATH of the machine")
    parser.add_argument("--models", type=Path, help="a folder such as ComfyUI/models, instead of that")
    parser.add_argument("--pack", type=Path, action="append", default=[], help="a further custom node pack's folder")
    parser.add_argument("--comfyui-argument", action="append", default=[], metavar="ARGUMENT")
    parser.add_argument(
        "--workers", type=int, metavar="N", help="as many ComfyUIs at once, by Ray (default 1, without Ray)"
    )
    parser.add_argument("--ray-address", metavar="ADDRESS", help='of a Ray cluster; "auto" on one of its machines')
    parser.add_argument("--gpus-per-worker", type=float, metavar="G", help="default 1 if there are any")
    parser.add_argument("--limit", type=int, help="only the first rows")
    parser.add_argument("--dry-run", action="store_true", help="check all rows, run none")
    parser.add_argument("--retry-failed", action="store_true", help="try failed rows again")
    parser.add_argument("--timeout", type=float, default=1800.0, help="seconds for one item (default 1800)")
    parser.add_argument("--max-failures", type=int, default=10, help="equal failures in a row that end the batch")
    return parser
