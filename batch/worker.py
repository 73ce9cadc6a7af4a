"""One ComfyUI and the items it is given, one after the other; bytes in, bytes out, nothing raised for an item's own fault."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from .api import (
    AnswerError,
    ComfyApi,
    ComfyError,
    NoAnswerError,
    PromptFailedError,
    PromptInterruptedError,
    PromptRejectedError,
)
from .fingerprint import fingerprints
from .server import ComfyServer
from .workflow import RESULTS, Graph, nodes_of, title_of

SUBFOLDER = "retrace-batch"
NOT_FOUND = 404
FIRST_POLL, LAST_POLL = 0.01, 0.25
"""Seconds between looks at the server, more and more: a small item does not wait, a long one is not disturbed."""

REJECTED, NODE, TIMEOUT, MEMORY, GONE, SERVER, WORKER = (
    "rejected", "node", "timeout", "memory", "result gone", "server died", "worker died",
)  # fmt: skip
TRIED_AGAIN = (TIMEOUT, MEMORY, GONE, SERVER, WORKER)
"""What may succeed another time; a rejected prompt and a node's own message stay what they are."""


@dataclass(frozen=True)
class Order:
    """What a worker needs of an item: the graph, and the files that it loads by their names on the server."""

    key: str
    graph: Graph
    files: Mapping[str, bytes]


@dataclass(frozen=True)
class Answer:
    """What became of an order: files by name, or the kind of failure and its message."""

    key: str
    files: Mapping[str, bytes] = field(default_factory=dict)
    kind: str = ""
    message: str = ""
    seconds: float = 0.0


class ComfyWorker:
    """Runs orders on a ComfyUI of its own, restarted when it ends, or on one that is already running."""

    def __init__(self, connect: Callable[[], ComfyApi], timeout: float) -> None:
        """`connect` starts a server or finds one; `timeout` in seconds is for one item. Raises what `connect` raises."""
        self._connect, self._timeout = connect, timeout
        self._stopped = threading.Event()
        self._left: set[Path] = set()
        self._api = connect()

    def facts(self) -> dict[str, str]:
        """What must be equal for all workers of a batch: results would depend on who made them."""
        system = self._api.get("/system_stats")["system"]
        return {name: str(system.get(name, "")) for name in ("comfyui_version", "python_version", "pytorch_version")}

    def node_definitions(self) -> dict[str, object]:
        """The server's /object_info."""
        return self._api.get("/object_info")

    def models(self, names: Sequence[str]) -> dict[str, str]:
        """Fingerprints of the server's model files of these names; none of a server on another machine, or in a container."""
        if not names or not self._api.on_loopback:
            return {}
        kinds = self._api.get("/experiment/models")
        return fingerprints(names, [Path(folder) for kind in kinds for folder in kind["folders"]])

    def run(self, order: Order) -> Answer:
        """Run an order to its end. A server that dies is started again, and the order tried once more; one that takes too long may
        hang, and is started again for the orders that follow."""
        started = time.monotonic()
        answer = self._tried(order)
        if answer.kind in (SERVER, TIMEOUT) and isinstance(self._api, ComfyServer) and not self._stopped.is_set():
            try:
                self._restart()
            except (ComfyError, OSError) as error:
                return Answer(order.key, {}, SERVER, str(error), time.monotonic() - started)
            if answer.kind == SERVER:
                answer = self._tried(order)
        elif answer.kind in (MEMORY, GONE):
            answer = self._tried(order, fresh=True)
        return Answer(order.key, answer.files, answer.kind, answer.message, time.monotonic() - started)

    def stop(self) -> None:
        """End the server, where it is the worker's own, and the wait for an order in work, which another thread may run."""
        self._stopped.set()
        self._end_server()

    def _end_server(self) -> None:
        if isinstance(self._api, ComfyServer):
            self._api.stop()

    def _restart(self) -> None:
        self._end_server()
        self._api = self._connect()

    def _tried(self, order: Order, fresh: bool = False) -> Answer:
        """`fresh`: with all memory free, and nothing reused that the server has loaded or made before."""
        try:
            if fresh:
                self._api.request("/free", {"unload_models": True, "free_memory": True})
            return Answer(order.key, self._results(order, fresh))
        except PromptRejectedError as error:
            return Answer(order.key, {}, REJECTED, _reasons(error))
        except PromptFailedError as error:
            kind = MEMORY if "OutOfMemory" in str(error.event.get("exception_type")) else NODE
            return Answer(order.key, {}, kind, f"{error.event.get('node_type')}: {error.message}")
        except (TimeoutError, PromptInterruptedError) as error:
            return Answer(order.key, {}, TIMEOUT, str(error))
        except AnswerError as error:
            return Answer(order.key, {}, GONE if error.status == NOT_FOUND else SERVER, str(error))
        except ComfyError as error:
            return Answer(order.key, {}, SERVER, str(error))

    def _results(self, order: Order, fresh: bool) -> dict[str, bytes]:
        for name, content in order.files.items():
            self._api.upload(name, SUBFOLDER, content)
        prompt_id = self._api.post_prompt({"prompt": order.graph}) if fresh else self._queued(order)
        self._wait(prompt_id)
        outputs = self._api.finished(prompt_id)["outputs"]
        shown = {
            node: outputs[node]["images"]
            for node in nodes_of(order.graph, RESULTS)
            if outputs.get(node, {}).get("images")
        }
        files = {
            _file_name(order, node, number, len(shown), len(images), image["filename"]): self._api.fetch(image)
            for node, images in shown.items()
            for number, image in enumerate(images)
        }
        self._remove_earlier(order, [image for images in shown.values() for image in images])
        return files

    def _remove_earlier(self, order: Order, images: Sequence[Mapping[str, str]]) -> None:
        """Remove what the order before has left in the folders of the worker's own server: a thousand would fill the disk.

        This order's files stay until the next one has ended, because ComfyUI names them again where its graph is the same.
        """
        if not isinstance(self._api, ComfyServer):
            return
        base = self._api.base
        used = {base / "input" / SUBFOLDER / name for name in order.files}
        used |= {base / image["type"] / image["subfolder"] / image["filename"] for image in images}
        for path in self._left - used:
            with suppress(OSError):  # Windows keeps a file that ComfyUI still has open
                path.unlink(missing_ok=True)
        self._left = used

    def _queued(self, order: Order) -> str:
        """Queue the order, or find it: the id depends on the order alone, and a resumed batch takes up what was queued."""
        prompt_id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"retrace:{order.key}"))
        if self._api.is_queued(prompt_id):
            return prompt_id
        record = self._api.history(prompt_id)
        if record is None:
            return self._api.post_prompt({"prompt": order.graph, "prompt_id": prompt_id})
        failed = any(kind in ("execution_error", "execution_interrupted") for kind, _ in record["status"]["messages"])
        return self._api.post_prompt({"prompt": order.graph}) if failed else prompt_id

    def _wait(self, prompt_id: str) -> None:
        deadline, pause = time.monotonic() + self._timeout, FIRST_POLL
        while self._api.history(prompt_id) is None:
            if time.monotonic() > deadline:
                self._api.interrupt()
                raise TimeoutError(f"not done after {self._timeout:g} seconds")
            if not self._api.is_queued(prompt_id) and self._api.history(prompt_id) is None:
                raise NoAnswerError(f"the server has lost the prompt {prompt_id}")
            if self._stopped.wait(pause):
                raise NoAnswerError("the batch was stopped")
            pause = min(1.5 * pause, LAST_POLL)


def _file_name(order: Order, node: str, number: int, nodes: int, images: int, stored: str) -> str:
    """KEY.png; with the node's title where several nodes show pictures, with a number where one shows several."""
    title = f".{title_of(order.graph, node).replace(' ', '_').replace('/', '_')}" if nodes > 1 else ""
    count = f".{number + 1}" if images > 1 else ""
    return f"{order.key}{title}{count}.{stored.rpartition('.')[2]}"


def _reasons(error: PromptRejectedError) -> str:
    reasons = [str(error.response.get("error", {}).get("message", ""))]
    for node in error.response.get("node_errors", {}).values():
        reasons += [f"{node['class_type']}: {each['message']}: {each['details']}" for each in node["errors"]]
    return "; ".join(reason for reason in reasons if reason)
