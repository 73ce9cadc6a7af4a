"""Workers on this machine or on a cluster, as Ray actors: each has a ComfyUI of its own and one task at a time.

The driver has the queue and writes the results; an actor gets bytes and gives bytes. An actor that is lost is replaced, and its
task returned as failed for a reason that may pass. Ray is imported when a pool is made.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from .installation import Installation
from .items import InputError
from .pools import NoWorkersError
from .ray_actor import actor_class
from .tasks import Task
from .worker import WORKER, Answer

FOLDER = Path(__file__).resolve().parent
STARTS = 3
"""After this many failed starts in a row, no more are tried."""
STOP_SECONDS = 20.0
OBJECT_STORE = 200 << 20
"""Bytes: room for a few pictures, because the driver keeps no results."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Cluster:
    """How many workers, where, and what each is given."""

    workers: int
    address: str | None = None
    """Of a running Ray, or "auto"; None starts one on this machine."""
    gpus: float | None = None
    """GPUs of a worker; None: one where Ray finds any."""


class RayPool:
    """Takes as many tasks as there are workers that have started. Raises InputError where Ray is missing or has too few GPUs."""

    def __init__(self, cluster: Cluster, installation: Installation, timeout: float, models: Sequence[str]) -> None:
        """`timeout` in seconds is for one task; `models` names the model files, which must be equal on all machines."""
        self._ray = _ray()
        self._local = cluster.address is None
        context = self._ray.init(
            address=cluster.address or "local",
            log_to_driver=False,
            logging_level="ERROR",
            runtime_env={
                # The actors load this folder's files from their working directory.
                "working_dir": str(FOLDER),
                "excludes": ["__pycache__"],
                # A ComfyUI ends with its actor by itself, and then removes its folder.
                "env_vars": {"RAY_kill_child_processes_on_worker_exit": "0"},
            },
            **({"num_cpus": cluster.workers, "object_store_memory": OBJECT_STORE} if self._local else {}),
            **({"include_dashboard": False} if self._local else {}),
        )
        self._session = Path(context.address_info["session_dir"])
        self._starting: dict[Any, Any] = {}
        self._working: dict[Any, tuple[Any, Task]] = {}
        self._idle: deque[Any] = deque()
        self._failed_starts, self._first, self._reason = 0, None, ""
        try:
            gpus = self._gpus(cluster)
            threads = str(max(1, (os.cpu_count() or 1) // cluster.workers)) if self._local else None
            remote = self._ray.remote(num_cpus=1, num_gpus=gpus, max_restarts=0, max_task_retries=0)
            self._class = remote(actor_class())
            threads = os.environ.get("OMP_NUM_THREADS", threads)
            self._arguments = (vars(installation), timeout, threads, tuple(models), not self._local)
            for _ in range(cluster.workers):
                self._open()
        except BaseException:
            self.close()
            raise

    def facts(self) -> dict[str, str]:
        return self._wait_for_first()["facts"]

    def models(self) -> Mapping[str, str]:
        return self._wait_for_first()["models"]

    def node_definitions(self) -> Mapping[str, object]:
        return self._wait_for_first()["node_definitions"]

    def free(self) -> int:
        return len(self._idle)

    def start(self, task: Task) -> None:
        order = task.order()
        actor = self._idle.popleft()
        self._working[actor.run.remote(vars(order))] = actor, task

    def finished(self, timeout: float) -> list[tuple[Task, Answer]]:
        ready, _ = self._ray.wait([*self._working, *self._starting], num_returns=1, timeout=timeout)
        answers = []
        for reference in ready:
            if reference in self._starting:
                self._started(reference, self._starting.pop(reference))
            else:
                answers.append(self._ended(reference, *self._working.pop(reference)))
        if not answers and not (self._starting or self._working or self._idle):
            raise NoWorkersError(self._reason)
        return answers

    def close(self) -> None:
        """Let idle workers stop their servers; the others are killed, and their servers end with them."""
        stopping = [actor.stop.remote() for actor in self._idle]
        if stopping:
            self._ray.wait(stopping, num_returns=len(stopping), timeout=STOP_SECONDS)
        for actor in [*self._idle, *self._starting.values(), *(actor for actor, _ in self._working.values())]:
            self._ray.kill(actor)
        self._ray.shutdown()
        if self._local:
            shutil.rmtree(self._session, ignore_errors=True)

    def _gpus(self, cluster: Cluster) -> float:
        present = self._ray.cluster_resources().get("GPU", 0)
        gpus = cluster.gpus if cluster.gpus is not None else float(present > 0)
        if self._local and gpus * cluster.workers > present:
            raise InputError(
                [
                    f"{cluster.workers} workers with {gpus:g} GPU each need more than the {present:g} of this machine; "
                    "use fewer --workers, or let them share one with --gpus-per-worker 0.5."
                ]
            )
        return gpus

    def _open(self) -> None:
        actor = self._class.remote(*self._arguments)
        self._starting[actor.ready.remote()] = actor

    def _wait_for_first(self) -> dict[str, Any]:
        while self._first is None:
            self.finished(timeout=5.0)
        return self._first

    def _started(self, reference: object, actor: Any) -> None:  # noqa: ANN401  (Ray's handles have no type)
        try:
            answer: dict[str, Any] = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            self._ray.kill(actor)
            answer = {"error": f"a worker died while it was starting: {str(error).strip()}"}
        if "error" in answer:
            self._reason = answer["error"]
            self._failed_starts += 1
            if self._failed_starts < STARTS:
                self._open()
            else:
                log.warning("%d starts of a worker in a row have failed; the last: %s", STARTS, self._reason)
            return
        self._failed_starts = 0
        self._first = self._first or answer
        if different := _different(self._first, answer):
            # Not replaced: another start would find the same machine. Ray ends an actor that nobody refers to any more.
            actor.stop.remote()
            self._reason = f"a worker on {answer['host']} is not used, because it differs: {different}"
            log.warning(self._reason)
        else:
            self._idle.append(actor)

    def _ended(self, reference: object, actor: Any, task: Task) -> tuple[Task, Answer]:  # noqa: ANN401
        try:
            answer = Answer(**self._ray.get(reference))
        except self._ray.exceptions.RayError as error:
            # It may be alive and only out of reach: never two at one task.
            self._ray.kill(actor)
            self._open()
            return task, Answer(task.key, {}, WORKER, str(error).partition("\n")[0])
        self._idle.append(actor)
        return task, answer


def _different(first: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    ours, theirs = ({**answer["facts"], **answer["weights"]} for answer in (first, other))
    names = sorted({*ours, *theirs})
    return "; ".join(
        f"{name} {theirs.get(name)} instead of {ours.get(name)}" for name in names if ours.get(name) != theirs.get(name)
    )


def _ray() -> ModuleType:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    with contextlib.suppress(ImportError):
        import ray

        return ray
    raise InputError(
        [
            "--workers and --ray-address need Ray, which is not installed; "
            "in ComfyUI's Python: pip install -r requirements-batch.txt"
        ]
    )
