"""A batch in its output folder, from what was done before to the report."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from .drive import GIVEN_UP, Progress, Stop, drive
from .ledger import MODELS, Ledger
from .pools import NoWorkersError, Pool
from .report import write_report
from .tasks import Task


def run_tasks(
    pool: Pool,
    tasks: Sequence[Task],
    output: Path,
    job: Mapping[str, object],
    retry_failed: bool = False,
    max_failures: int = 10,
) -> int:
    """Do what is left of the tasks, tell about it and return the exit status.

    Raises InputError where `output` holds another job, was made with other model files or belongs to another process.
    """
    with Ledger(output, {**job, MODELS: dict(pool.models())}) as ledger, _stopping() as stop:
        left = [task for task in tasks if _is_left(task, ledger, retry_failed)]
        print(f"{len(tasks)} items, {len(tasks) - len(left)} of them done before.")
        try:
            try:
                status = drive(pool, left, ledger, stop, _tell, max_failures)
            finally:
                write_report(output, tasks, ledger.entries)
        except (NoWorkersError, OSError) as error:  # the disk is full, say
            print(f"\n{error}", file=sys.stderr)
            return GIVEN_UP
    print(f"\nSee {output / 'report.html'}.")
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
