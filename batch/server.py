"""A running ComfyUI: start it with chosen packs and models, queue prompts, follow them, stop it.

The batch command, the demo and the server tests share this module.

    with ComfyServer(comfyui, custom_nodes={"retrace": root}) as server:
        (png,) = server.images(server.run(prompt), "9")
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from .api import ANSWER_TIMEOUT, ComfyApi, ComfyError, Prompt, Result
from .events import Event, EventStream
from .machine import claim_port, end_process, has_accelerator, link

LAUNCHER = Path(__file__).resolve().parent / "launcher.py"


class StartError(ComfyError):
    """The server did not start; the message ends with the last lines of its log."""


@dataclass
class ComfyServer(ComfyApi):
    """A headless ComfyUI on a loopback port, as a context manager.

    It only sees the packs and models it is given, in its own base directory: nothing in the ComfyUI tree is modified, and
    only its code is loaded from there. It ends with the process that started it.
    """

    comfyui: Path
    """The ComfyUI tree: the folder of main.py."""
    custom_nodes: Mapping[str, Path] = field(default_factory=dict)
    """Name in custom_nodes/ -> folder of the pack, which is linked, not copied."""
    models: Mapping[str, Path] = field(default_factory=dict)
    """Path below models/ -> file or folder, for example {"checkpoints": folder} or {"loras/a.safetensors": file}."""
    arguments: Sequence[str] = ()
    """Additional arguments for ComfyUI's main.py."""
    cpu: bool | None = None
    """Whether to run on the CPU; None: only if torch finds no accelerator."""
    port: int = 0
    """The port to listen on; 0 chooses a free one and stores it here."""
    directory: Path | None = None
    """The base directory to use and keep; None: a temporary one."""
    parent: Path | None = None
    """The folder in which to create a temporary base directory; None: the system's."""
    prefix: str = "retrace-comfyui-"
    """The prefix of a temporary base directory's name."""
    every_pack_loads: bool = True
    """Fail to start if ComfyUI cannot load one of the packs, instead of only logging a warning as ComfyUI does."""
    show_log: bool = False
    """Write the server's log to the terminal instead of server.log in the base directory."""
    start_timeout: float = 900.0
    """Seconds until a start counts as failed; the first start on a slow disk or a busy machine takes long."""

    followed: bool = True
    """Open the websocket, which `run` and `follow` need and for which websocket-client must be installed."""

    url: str = field(init=False)
    base: Path = field(init=False)
    """The base directory: input/, output/, temp/, user/, models/, custom_nodes/, server.log."""
    process: subprocess.Popen[bytes] = field(init=False, repr=False)
    client_id: str = field(init=False, default_factory=lambda: uuid.uuid4().hex)
    _events: EventStream = field(init=False, repr=False)
    _resources: contextlib.ExitStack = field(init=False, repr=False)

    # --- start and stop ---

    def __enter__(self) -> ComfyServer:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start the server and return when it responds. If that fails, nothing is left running."""
        with contextlib.ExitStack() as resources:
            self.base = self._make_base(resources)
            self._claim_port()
            log = None if self.show_log else resources.enter_context((self.base / "server.log").open("wb"))
            self.process = self._launch(log)
            resources.callback(end_process, self.process)
            self._wait_until_ready()
            if self.followed:
                self._events = EventStream(self.url, self.client_id, ANSWER_TIMEOUT)
                resources.callback(self._events.close)
            self._resources = resources.pop_all()

    def stop(self) -> None:
        """Stop the server and remove its temporary directory."""
        self._resources.close()

    def log(self) -> str:
        """The server's log so far, without color codes."""
        path = self.base / "server.log"
        text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        return re.sub(r"\x1b\[[0-9;]*m", "", text)

    def _make_base(self, resources: contextlib.ExitStack) -> Path:
        base = self.directory
        if base is None:
            temporary = tempfile.TemporaryDirectory(prefix=self.prefix, dir=self.parent, ignore_cleanup_errors=True)
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
        self.url = f"http://127.0.0.1:{self.port}"

    def _launch(self, log: IO[bytes] | None) -> subprocess.Popen[bytes]:
        cpu = self.cpu if self.cpu is not None else "--cpu" not in self.arguments and not has_accelerator()
        options = {
            "--listen": "127.0.0.1",
            "--port": str(self.port),
            "--base-directory": str(self.base),
            "--database-url": f"sqlite:///{(self.base / 'user' / 'comfyui.db').as_posix()}",
        }
        temporary = str(self.base) if self.directory is None else ""
        command = [
            sys.executable,
            str(LAUNCHER),
            temporary,
            "main.py",
            *(part for option in options.items() for part in option),
        ]
        command += ["--disable-api-nodes", "--disable-auto-launch", *(["--cpu"] if cpu else []), *self.arguments]
        return subprocess.Popen(
            command,
            cwd=self.comfyui,
            env={**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"},
            stdin=subprocess.PIPE,
            # A signal or a kill for the caller's process group must not reach the launcher: it ends with the caller anyway,
            # and removes the folder.
            start_new_session=True,
            stdout=log,
            stderr=log and subprocess.STDOUT,
        )

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + self.start_timeout
        while True:
            if self.process.poll() is not None:
                raise StartError(f"{self.ending()} while it was starting.{self.explanation()}")
            with contextlib.suppress(ComfyError):
                self.get("/system_stats")
                break
            if time.monotonic() > deadline:
                raise StartError(f"ComfyUI did not answer within {self.start_timeout:g} seconds.{self.explanation()}")
            time.sleep(0.1)
        log = self.log()
        if self.every_pack_loads and "(IMPORT FAILED)" in log:
            packs = str(self.base / "custom_nodes")
            about = [line for line in log.splitlines() if packs in line and "search path" not in line]
            raise StartError("\n".join(["A custom node pack could not be loaded:", *about, self.explanation()]))

    def ending(self) -> str:
        """How the server ended, for an error message."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return f"ComfyUI ended with exit status {self.process.wait(timeout=5)}"
        return "ComfyUI closed the connection"

    def explanation(self, lines: int = 40) -> str:
        """The last lines of the server's log."""
        tail = self.log().splitlines()[-lines:]
        return "\n".join(["", f"The last {len(tail)} lines of its log:", *tail]) if tail else ""

    # --- prompts ---

    def queue(self, prompt: Prompt, workflow: Mapping[str, Any] | None = None) -> str:
        """Queue a prompt and return its id. Raises PromptRejectedError if the server rejects it.

        `workflow` (UI format) is embedded in the saved images, so that dropping one onto ComfyUI opens it.
        """
        payload: dict[str, Any] = {"prompt": prompt, "client_id": self.client_id}
        if workflow is not None:
            payload["extra_data"] = {"extra_pnginfo": {"workflow": workflow}}
        return self.post_prompt(payload)

    def follow(self, prompt_id: str, timeout: float = 1800.0) -> Iterator[Event]:
        """The events of a queued prompt, up to and including the last one, `executing` without a node.

        Follow prompts in the order in which they were queued: events of other prompts are dropped.
        """
        deadline = time.monotonic() + timeout
        while True:
            event = self._next_event()
            if event is None:
                # A message can be lost (another client with our id, a prompt followed too late), so check the history.
                if self.history(prompt_id) is not None:
                    return
            elif event.data.get("prompt_id", prompt_id) == prompt_id:
                yield event
                if event.kind == "executing" and event.node is None:
                    return
            if time.monotonic() > deadline:
                raise ComfyError(f"The prompt did not end within {timeout:g} seconds.{self.explanation()}")

    def run(
        self,
        prompt: Prompt,
        on_event: Callable[[Event], object] | None = None,
        timeout: float = 1800.0,
        workflow: Mapping[str, Any] | None = None,
    ) -> Result:
        """Queue a prompt, follow it to its end and return its results. Raises if it fails or is interrupted."""
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
        outputs = self.finished(prompt_id)["outputs"]
        return Result(prompt_id, outputs, tuple(dict.fromkeys(executed)), frozenset(cached), seconds)

    def _next_event(self) -> Event | None:
        try:
            return self._events.next()
        except ConnectionError as error:
            raise ComfyError(f"{self.ending()} in the middle of a prompt.{self.explanation()}") from error
