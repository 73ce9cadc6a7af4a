"""A running ComfyUI: start it with chosen packs and models, queue prompts, follow them, fetch what they made.

The demo and the server tests share this module. It runs inside the environment that dev.py makes and needs nothing
beyond the standard library and websocket-client.

    with ComfyServer(comfyui, custom_nodes={"retrace": root}) as server:
        (png,) = server.images(server.run(prompt), "9")
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import websocket
from machine import claim_port, end_process, has_accelerator, link

Prompt = Mapping[str, Mapping[str, Any]]
"""A graph in ComfyUI's API format: node id -> {"class_type": ..., "inputs": ..., "_meta": {"title": ...}}."""

# Seconds. A busy machine answers late; one that has ended is noticed at once.
ANSWER_TIMEOUT = 600.0

# A server on the loopback is never reached through a proxy, whatever the environment says.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class ComfyError(Exception):
    """Something that a ComfyUI server could not do."""


class StartError(ComfyError):
    """The server did not come up; the message ends with the last lines of its log."""


class AnswerError(ComfyError):
    """The server answered a request with an error status."""

    def __init__(self, request: str, status: int, body: str) -> None:
        super().__init__(f"{request} answered {status}: {body}")
        self.status = status
        self.body = body


class PromptRejectedError(ComfyError):
    """The server refused a prompt before running it. `response` is its answer, with `error` and `node_errors`."""

    def __init__(self, response: dict[str, Any]) -> None:
        super().__init__(json.dumps(response, indent=2))
        self.response = response


class PromptFailedError(ComfyError):
    """A node raised. `event` is ComfyUI's `execution_error`: node_id, node_type, exception_message, traceback."""

    def __init__(self, event: dict[str, Any]) -> None:
        super().__init__(f"{event.get('node_type')}: {event.get('exception_message', '').strip()}")
        self.event = event

    @property
    def message(self) -> str:
        """What the node said."""
        return str(self.event.get("exception_message", "")).strip()


class PromptInterruptedError(ComfyError):
    """The prompt was interrupted before its end."""


@dataclass(frozen=True)
class Event:
    """One message of the server's websocket: ComfyUI's own type and data, or `preview` with the frame's `bytes`."""

    kind: str
    data: dict[str, Any]

    @property
    def node(self) -> str | None:
        """The id of the node it is about, as the prompt names it."""
        return self.data.get("display_node") or self.data.get("node")


@dataclass(frozen=True)
class Result:
    """What a prompt that ran to its end left behind."""

    prompt_id: str
    outputs: dict[str, dict[str, Any]]
    """Node id -> the node's `ui` values: `images`, `text`, ..."""
    executed: tuple[str, ...]
    """The nodes that ran, in this order."""
    cached: frozenset[str]
    """The nodes whose earlier results were used instead."""
    seconds: float


@dataclass
class ComfyServer:
    """A headless ComfyUI on a loopback port, as a context manager.

    It sees only the packs and models that it is given, in a base directory of its own, so that nothing of the
    ComfyUI tree is written to or loaded besides its code.
    """

    comfyui: Path
    """The ComfyUI tree: the folder of main.py."""
    custom_nodes: Mapping[str, Path] = field(default_factory=dict)
    """Name in custom_nodes/ -> folder of the pack, which is linked, not copied."""
    models: Mapping[str, Path] = field(default_factory=dict)
    """Path below models/ -> file or folder, for example {"checkpoints": folder} or {"loras/a.safetensors": file}."""
    arguments: Sequence[str] = ()
    """Further arguments of ComfyUI's main.py."""
    cpu: bool | None = None
    """Whether to run on the CPU; None: only where torch sees no accelerator."""
    port: int = 0
    """The port to listen on; 0 chooses a free one, which is then found here."""
    directory: Path | None = None
    """The base directory to use and keep; None: a temporary one."""
    show_log: bool = False
    """Write the server's log to the terminal instead of to server.log in the base directory."""
    start_timeout: float = 900.0
    """Seconds until a start counts as failed: the first one on a slow disk or a busy machine takes long."""

    base: Path = field(init=False)
    """The base directory: input/, output/, temp/, user/, models/, custom_nodes/, server.log."""
    process: subprocess.Popen[bytes] = field(init=False, repr=False)
    client_id: str = field(init=False, default_factory=lambda: uuid.uuid4().hex)
    _websocket: websocket.WebSocket = field(init=False, repr=False)
    _resources: contextlib.ExitStack = field(init=False, repr=False)

    @property
    def url(self) -> str:
        """Where the server answers, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    # --- start and stop ---

    def __enter__(self) -> ComfyServer:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start the server and return when it answers; leave nothing running where that fails."""
        with contextlib.ExitStack() as resources:
            self.base = self._make_base(resources)
            self._claim_port()
            log = None if self.show_log else resources.enter_context((self.base / "server.log").open("wb"))
            self.process = self._launch(log)
            resources.callback(end_process, self.process)
            self._wait_until_ready()
            self._websocket = websocket.create_connection(
                f"ws://127.0.0.1:{self.port}/ws?clientId={self.client_id}", timeout=ANSWER_TIMEOUT
            )
            resources.callback(self._websocket.close)
            self._resources = resources.pop_all()

    def stop(self) -> None:
        """Stop the server and remove its temporary directory."""
        self._resources.close()

    def log(self) -> str:
        """What the server has logged so far, without colours."""
        path = self.base / "server.log"
        text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        return re.sub(r"\x1b\[[0-9;]*m", "", text)

    def _make_base(self, resources: contextlib.ExitStack) -> Path:
        base = self.directory
        if base is None:
            temporary = tempfile.TemporaryDirectory(prefix="retrace-comfyui-", ignore_cleanup_errors=True)
            base = Path(resources.enter_context(temporary))
        for name in ("custom_nodes", "input", "models", "output", "temp", "user"):
            (base / name).mkdir(parents=True, exist_ok=True)
        links = {Path("custom_nodes", name): path for name, path in self.custom_nodes.items()}
        links |= {Path("models", name): path for name, path in self.models.items()}
        for name, path in links.items():
            link(base / name, path)
        return base.resolve()

    def _claim_port(self) -> None:
        try:
            self.port = claim_port(self.port)
        except OSError as error:
            raise StartError(f"Port {self.port} cannot be used: {error.strerror}. Choose another one.") from error

    def _launch(self, log: IO[bytes] | None) -> subprocess.Popen[bytes]:
        cpu = self.cpu if self.cpu is not None else not has_accelerator()
        options = {
            "--listen": "127.0.0.1",
            "--port": str(self.port),
            "--base-directory": str(self.base),
            "--database-url": f"sqlite:///{(self.base / 'user' / 'comfyui.db').as_posix()}",
        }
        command = [sys.executable, "main.py", *(part for option in options.items() for part in option)]
        command += ["--disable-api-nodes", "--disable-auto-launch", *(["--cpu"] if cpu else []), *self.arguments]
        return subprocess.Popen(
            command,
            cwd=self.comfyui,
            env={**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log and subprocess.STDOUT,
        )

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + self.start_timeout
        while True:
            if self.process.poll() is not None:
                raise StartError(f"{self._ending()} while it was starting.{self._log_tail()}")
            with contextlib.suppress(ComfyError):
                self.get("/system_stats")
                break
            if time.monotonic() > deadline:
                raise StartError(f"ComfyUI did not answer within {self.start_timeout:g} seconds.{self._log_tail()}")
            time.sleep(0.1)
        # ComfyUI only warns about a pack that it could not import; here a missing pack is never what is wanted.
        log = self.log()
        if "(IMPORT FAILED)" in log:
            packs = str(self.base / "custom_nodes")
            about = [line for line in log.splitlines() if packs in line and "search path" not in line]
            raise StartError("\n".join(["A custom node pack could not be loaded:", *about, self._log_tail()]))

    def _ending(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return f"ComfyUI ended with exit status {self.process.wait(timeout=5)}"
        return "ComfyUI closed the connection"

    def _log_tail(self, lines: int = 40) -> str:
        tail = self.log().splitlines()[-lines:]
        return "\n".join(["", f"The last {len(tail)} lines of its log:", *tail]) if tail else ""

    # --- the HTTP API ---

    def request(self, path: str, payload: object = None, **query: str) -> bytes:
        """The body of the answer: to a POST of `payload` as JSON, or to a GET where that is None."""
        address = self.url + path + ("?" + urllib.parse.urlencode(query) if query else "")
        body = None if payload is None else json.dumps(payload).encode()
        request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
        try:
            with _OPENER.open(request, timeout=ANSWER_TIMEOUT) as response:
                return response.read()
        except urllib.error.HTTPError as error:
            body = error.read().decode("utf-8", errors="replace")
            raise AnswerError(f"{request.get_method()} {path}", error.code, body) from error
        except (OSError, http.client.HTTPException) as error:
            raise ComfyError(f"{request.get_method()} {path} got no answer: {error}{self._log_tail()}") from error

    def get(self, path: str, **query: str) -> Any:  # noqa: ANN401  (JSON)
        """The decoded JSON of a GET."""
        return json.loads(self.request(path, **query))

    def queue(self, prompt: Prompt, workflow: Mapping[str, Any] | None = None) -> str:
        """Queue a prompt and return its id; PromptRejectedError where the server refuses it.

        The pictures that it saves carry the `workflow` (UI format): dropped on ComfyUI they open it.
        """
        payload: dict[str, Any] = {"prompt": prompt, "client_id": self.client_id}
        if workflow is not None:
            payload["extra_data"] = {"extra_pnginfo": {"workflow": workflow}}
        try:
            return json.loads(self.request("/prompt", payload))["prompt_id"]
        except AnswerError as error:
            if error.status == 400:
                raise PromptRejectedError(json.loads(error.body)) from error
            raise

    def history(self, prompt_id: str) -> dict[str, Any] | None:
        """ComfyUI's record of a finished prompt (`outputs`, `status`), or None while it is not finished."""
        return self.get(f"/history/{prompt_id}").get(prompt_id)

    def fetch(self, image: Mapping[str, str]) -> bytes:
        """The file that one entry of a node's `images` names."""
        return self.request("/view", **{key: image[key] for key in ("filename", "subfolder", "type")})

    def images(self, result: Result, node: str) -> list[bytes]:
        """The encoded images that a node saved or previewed."""
        return [self.fetch(image) for image in result.outputs.get(node, {}).get("images", [])]

    def interrupt(self) -> None:
        """Interrupt the prompt that is running."""
        self.request("/interrupt", {})

    # --- following a prompt ---

    def follow(self, prompt_id: str, timeout: float = 1800.0) -> Iterator[Event]:
        """The events of a queued prompt, up to and including the last, `executing` with no node.

        Follow prompts in the order in which they were queued: events of another prompt are dropped.
        """
        deadline = time.monotonic() + timeout
        while True:
            event = self._next_event()
            if event is None:
                # A message can be lost (another client with our id, a prompt that was followed late): ask.
                if self.history(prompt_id) is not None:
                    return
            elif event.data.get("prompt_id", prompt_id) == prompt_id:
                yield event
                if event.kind == "executing" and event.node is None:
                    return
            if time.monotonic() > deadline:
                raise ComfyError(f"The prompt did not end within {timeout:g} seconds.{self._log_tail()}")

    def run(
        self,
        prompt: Prompt,
        on_event: Callable[[Event], object] | None = None,
        timeout: float = 1800.0,
        workflow: Mapping[str, Any] | None = None,
    ) -> Result:
        """Queue a prompt, follow it to its end and return what it made; raise where it failed or was interrupted."""
        started = time.monotonic()
        prompt_id = self.queue(prompt, workflow)
        executed: list[str] = []
        cached: set[str] = set()
        for event in self.follow(prompt_id, timeout):
            if event.kind == "executing" and event.node is not None:
                executed.append(event.node)
            elif event.kind == "execution_cached":
                cached.update(event.data["nodes"])
            if on_event is not None:
                on_event(event)
        seconds = time.monotonic() - started
        outputs = self._finished(prompt_id)["outputs"]
        return Result(prompt_id, outputs, tuple(dict.fromkeys(executed)), frozenset(cached), seconds)

    def _next_event(self) -> Event | None:
        """The next message of the websocket, or None where none came for a second."""
        self._websocket.settimeout(1.0)
        try:
            message = self._websocket.recv()
        except websocket.WebSocketTimeoutException:
            return None
        except (websocket.WebSocketException, OSError) as error:
            raise ComfyError(f"{self._ending()} in the middle of a prompt.{self._log_tail()}") from error
        if isinstance(message, bytes):
            return Event("preview", {"bytes": message})
        decoded = json.loads(message)
        return Event(decoded["type"], decoded.get("data", {}))

    def _finished(self, prompt_id: str) -> dict[str, Any]:
        history = self.history(prompt_id)
        if history is None:
            raise ComfyError(f"ComfyUI has no record of the prompt {prompt_id}.{self._log_tail()}")
        for kind, data in history["status"]["messages"]:
            if kind == "execution_error":
                raise PromptFailedError(data)
            if kind == "execution_interrupted":
                raise PromptInterruptedError(f"interrupted in node {data.get('node_id')} ({data.get('node_type')})")
        return history
