"""Many photos through one workflow, resumable: the same command goes on where it stopped.

    python scripts/batch.py photos.csv --workflow "5 New style" --output edited --set "Target prompt.value={after}"

INPUT is a folder of photos, a table (.csv, .jsonl) with a column `image` and any others, or the mapping file of PIE-Bench. --set
fills an input of a node, by the node's title, from columns in braces. The workflow is a shipped template or a file from
Workflow > Export (API).
OUT then holds images/, report.html, sheet.jpg, failed.csv and ledger.jsonl.

Exit status: 0 all done, 1 some failed, 2 nothing begun, 3 given up, 130 stopped.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from .api import ComfyError
from .defaults import default_settings
from .drive import NOTHING_BEGUN
from .items import InputError, Item, read_items
from .places import add_options, pool_of
from .pools import NoWorkersError, Pool
from .running import run_tasks
from .tasks import tasks_of
from .workflow import Setting, as_prompt, read_workflow


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    options = _parser().parse_args(arguments)
    try:
        items = read_items(options.input)[: options.limit]
        workflow = read_workflow(options.workflow)
        settings = [Setting.parse(text) for text in options.set]
        with closing(pool_of(options, [workflow, options.set])) as pool:
            return _run(options, items, workflow, settings, pool)
    except (InputError, ComfyError, NoWorkersError, OSError) as error:
        print(error, file=sys.stderr)
        return NOTHING_BEGUN


def _run(options: argparse.Namespace, items: list[Item], workflow: dict, settings: list[Setting], pool: Pool) -> int:
    graph = as_prompt(workflow, pool.node_definitions())
    settings += default_settings(graph, items, settings)
    tasks = tasks_of(items, graph, settings)
    job = {"workflow": options.workflow, "set": sorted(options.set), **pool.facts()}
    if options.dry_run:
        print(f"{len(tasks)} items are ready; nothing was run.")
        return 0
    return run_tasks(pool, tasks, options.output, job, options.retry_failed, options.max_failures)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="batch.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "input", type=Path, metavar="INPUT", help="a folder of photos, a .csv or .jsonl file, or mapping_file.json"
    )
    parser.add_argument("--workflow", required=True, help="a shipped template's name, or a file in API format")
    parser.add_argument("--output", type=Path, required=True, metavar="OUT")
    parser.add_argument("--set", action="append", default=[], metavar='"TITLE.INPUT={COLUMN}"')
    add_options(parser)
    parser.add_argument("--limit", type=int, help="only the first rows")
    parser.add_argument("--dry-run", action="store_true", help="check all rows, run none")
    parser.add_argument("--retry-failed", action="store_true", help="try failed rows again")
    parser.add_argument("--max-failures", type=int, default=10, help="equal failures in a row that end the batch")
    return parser
