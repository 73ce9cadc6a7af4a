"""The driver: one queue, one commit an item, the first item alone as a canary, and reasons to stop."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from .ledger import Entry, Ledger
from .pools import Pool
from .tasks import Task
from .worker import REJECTED, TRIED_AGAIN, Answer

ALL_DONE, SOME_FAILED, NOTHING_BEGUN, GIVEN_UP, STOPPED = 0, 1, 2, 3, 130
TRIES = 3
WAIT_SECONDS = 1.0


@dataclass
class Progress:
    """Counts for the progress line."""

    total: int
    done: int = 0
    failed: int = 0
    started: float = field(default_factory=time.monotonic)

    def line(self) -> str:
        """Done, failed, items a minute and the time left."""
        ended = self.done + self.failed
        minutes = (time.monotonic() - self.started) / 60
        rate = ended / minutes if minutes > 0 else 0.0
        left = f", {(self.total - ended) / rate:.0f} min left" if rate else ""
        return f"{ended} of {self.total}: {self.done} done, {self.failed} failed, {rate:.1f} a minute{left}"


@dataclass
class Stop:
    """What a signal asks for: nothing new, then nothing more."""

    draining: bool = False
    now: bool = False

    def ask(self) -> None:
        """The first time: finish what is in work. The second time: end at once."""
        self.now, self.draining = self.draining, True


def drive(
    pool: Pool,
    tasks: Iterable[Task],
    ledger: Ledger,
    stop: Stop,
    tell: Callable[[Progress], object] = lambda progress: None,
    max_failures: int = 10,
) -> int:
    """Do the tasks and return the exit status.

    A task that fails for a reason that may pass is tried three times. `max_failures` equal failures in a row end the
    batch, as does a first task that the server rejects: the workflow does not fit it.
    """
    queue, tries, alike = deque(tasks), Counter[str](), 0
    progress, last_kind, canary, working = Progress(len(queue)), "", True, 0
    while (queue or working) and not stop.now:
        while queue and pool.free() > 0 and not stop.draining and (not canary or not working):
            task = queue.popleft()
            tries[task.key] += 1
            try:
                pool.start(task)
                working += 1
            except OSError as error:
                _commit(ledger, progress, task, Answer(task.key, {}, "input", str(error)), tries[task.key])
        if stop.draining and not working:
            break
        for task, answer in pool.finished(WAIT_SECONDS):
            working -= 1
            if answer.kind in TRIED_AGAIN and tries[task.key] < TRIES:
                queue.append(task)
                continue
            _commit(ledger, progress, task, answer, tries[task.key])
            alike = 0 if not answer.kind else alike + 1 if answer.kind == last_kind else 1
            last_kind = answer.kind
            if canary and answer.kind == REJECTED:
                return NOTHING_BEGUN
            if alike >= max_failures:
                return GIVEN_UP
            canary = False
            tell(progress)
    if stop.draining:
        return STOPPED
    return SOME_FAILED if progress.failed else ALL_DONE


def _commit(ledger: Ledger, progress: Progress, task: Task, answer: Answer, tries: int) -> None:
    status = "failed" if answer.kind else "done"
    files = tuple(sorted(answer.files))
    row = dict(task.item.values)
    entry = Entry(task.key, status, files, answer.kind, answer.message, round(answer.seconds, 3), tries, row)
    ledger.commit(entry, answer.files)
    progress.done += not answer.kind
    progress.failed += bool(answer.kind)
