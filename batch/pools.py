"""Who does the tasks: one worker in a thread here, or Ray actors on this machine or a cluster. One task a worker at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Protocol

from .tasks import Task
from .worker import Answer, ComfyWorker


class NoWorkersError(Exception):
    """No worker is left, and none could be started; the message says why."""


class Pool(Protocol):
    """Workers that take a task each."""

    def facts(self) -> dict[str, str]:
        """What is the same for all workers; see ComfyWorker. Waits for the first one."""
        ...

    def models(self) -> Mapping[str, str]:
        """Fingerprints of the first worker's model files by name, of those that the batch names and that can be read."""
        ...

    def node_definitions(self) -> Mapping[str, object]:
        """ComfyUI's /object_info of the first worker."""
        ...

    def free(self) -> int:
        """How many tasks it would take now."""
        ...

    def start(self, task: Task) -> None:
        """Give a task to a free worker."""
        ...

    def finished(self, timeout: float) -> list[tuple[Task, Answer]]:
        """The tasks that have come to their end; waits at most `timeout` seconds for one. May raise NoWorkersError."""
        ...

    def close(self) -> None:
        """End the workers and their servers, tasks in work included."""
        ...


class OneWorker:
    """A single worker, run in a thread so that signals and progress are not held up."""

    def __init__(self, worker: ComfyWorker, models: Sequence[str]) -> None:
        """`models` are the names of the model files that the batch uses."""
        self._worker, self._models = worker, models
        self._thread = ThreadPoolExecutor(1)
        self._working: dict[Future[Answer], Task] = {}

    def facts(self) -> dict[str, str]:
        return self._worker.facts()

    def models(self) -> Mapping[str, str]:
        return self._worker.models(self._models)

    def node_definitions(self) -> Mapping[str, object]:
        return self._worker.node_definitions()

    def free(self) -> int:
        return 1 - len(self._working)

    def start(self, task: Task) -> None:
        order = task.order()
        self._working[self._thread.submit(self._worker.run, order)] = task

    def finished(self, timeout: float) -> list[tuple[Task, Answer]]:
        done, _ = wait(self._working, timeout, FIRST_COMPLETED)
        return [(self._working.pop(each), each.result()) for each in done]

    def close(self) -> None:
        self._worker.stop()  # first: a task in work then ends at once
        self._thread.shutdown(cancel_futures=True)
