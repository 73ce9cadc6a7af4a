"""Client for ComfyUI's HTTP API: queue prompts, check their status, fetch their results. Standard library only."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Prompt = Mapping[str, Mapping[str, Any]]
"""A graph in ComfyUI's API format: node id -> {"class_type": ..., "inputs": ..., "_meta": {"title": ...}}."""

# Seconds. A busy server may take this long to respond; a dead one is noticed immediately.
ANSWER_TIMEOUT = 600.0

# A loopback server must never be reached through a proxy, whatever the environment says.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_OPENER = urllib.request.build_opener()


class ComfyError(Exception):
    """Something that a ComfyUI server could not do."""


class NoAnswerError(ComfyError):
    """The server could not be reached, or the connection broke during its response."""


class AnswerError(ComfyError):
    """The server responded to a request with an error status."""

    def __init__(self, request: str, status: int, body: str) -> None:
        super().__init__(f"{request} answered {status}: {body}")
        self.status = status
        self.body = body


class PromptRejectedError(ComfyError):
    """The server rejected a prompt before running it. `response` has its `error` and `node_errors`."""

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
        """The node's error message."""
        return str(self.event.get("exception_message", "")).strip()


class PromptInterruptedError(ComfyError):
    """The prompt was interrupted before it finished."""


@dataclass(frozen=True)
class Result:
    """The results of a prompt that finished."""

    prompt_id: str
    outputs: dict[str, dict[str, Any]]
    """Node id -> the node's `ui` values: `images`, `text`, ..."""
    executed: tuple[str, ...]
    """The nodes that ran, in order."""
    cached: frozenset[str]
    """The nodes whose cached results were used."""
    seconds: float


class ComfyApi:
    """A running ComfyUI at `url` (without a trailing slash)."""

    url: str

    def explanation(self) -> str:
        """Text to append to an error message when the server does not respond: the end of its log, if there is one."""
        return ""

    @property
    def on_loopback(self) -> bool:
        """Whether the server runs on this machine."""
        return urllib.parse.urlsplit(self.url).hostname in ("127.0.0.1", "localhost", "::1")

    def request(self, path: str, payload: object = None, **query: str) -> bytes:
        """Send a POST with `payload` as JSON, or a GET if it is None, and return the body of the response.

        Raises AnswerError for an error status, and NoAnswerError if there is no response.
        """
        body = None if payload is None else json.dumps(payload).encode()
        return self._send(path + ("?" + urllib.parse.urlencode(query) if query else ""), body, "application/json")

    def _send(self, path: str, body: bytes | None, content_type: str) -> bytes:
        request = urllib.request.Request(self.url + path, body, {"Content-Type": content_type})
        try:
            with (_DIRECT if self.on_loopback else _OPENER).open(request, timeout=ANSWER_TIMEOUT) as response:
                return response.read()
        except urllib.error.HTTPError as error:
            text = error.read().decode("utf-8", errors="replace")
            raise AnswerError(f"{request.get_method()} {path}", error.code, text) from error
        except (OSError, http.client.HTTPException) as error:
            message = f"{request.get_method()} {path} got no answer: {error}{self.explanation()}"
            raise NoAnswerError(message) from error

    def get(self, path: str, **query: str) -> Any:  # noqa: ANN401  (JSON)
        """The decoded JSON of a GET."""
        return json.loads(self.request(path, **query))

    def post_prompt(self, payload: Mapping[str, Any]) -> str:
        """POST /prompt: queue a prompt and return its id. Raises PromptRejectedError if the server rejects it."""
        try:
            return json.loads(self.request("/prompt", payload))["prompt_id"]
        except AnswerError as error:
            if error.status == 400:
                raise PromptRejectedError(json.loads(error.body)) from error
            raise

    def upload(self, name: str, subfolder: str, content: bytes) -> str:
        """Upload an image to the server's input folder, replacing any of the same name; returns its name for Load Image."""
        boundary = uuid.uuid4().hex
        fields = {"subfolder": subfolder, "overwrite": "true", "type": "input"}
        parts = [
            f'--{boundary}\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n' for k, v in fields.items()
        ]
        parts.append(
            f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        )
        body = "".join(parts).encode() + content + f"\r\n--{boundary}--\r\n".encode()
        stored = json.loads(self._send("/upload/image", body, f"multipart/form-data; boundary={boundary}"))
        return f"{stored['subfolder']}/{stored['name']}".lstrip("/")

    def is_queued(self, prompt_id: str) -> bool:
        """Whether the prompt is running or waiting in the queue."""
        queue = self.get("/queue")
        return any(entry[1] == prompt_id for entry in [*queue["queue_running"], *queue["queue_pending"]])

    def history(self, prompt_id: str) -> dict[str, Any] | None:
        """ComfyUI's record of a finished prompt (`outputs`, `status`), or None if it has not finished."""
        return self.get(f"/history/{prompt_id}").get(prompt_id)

    def fetch(self, image: Mapping[str, str]) -> bytes:
        """The file that an entry of a node's `images` refers to."""
        return self.request("/view", **{key: image[key] for key in ("filename", "subfolder", "type")})

    def images(self, result: Result, node: str) -> list[bytes]:
        """The encoded images that a node saved or previewed."""
        return [self.fetch(image) for image in result.outputs.get(node, {}).get("images", [])]

    def interrupt(self) -> None:
        """Interrupt the running prompt."""
        self.request("/interrupt", {})

    def finished(self, prompt_id: str) -> dict[str, Any]:
        """The record of a finished prompt. Raises if it failed or was interrupted."""
        history = self.history(prompt_id)
        if history is None:
            raise ComfyError(f"ComfyUI has no record of the prompt {prompt_id}.{self.explanation()}")
        for kind, data in history["status"]["messages"]:
            if kind == "execution_error":
                raise PromptFailedError(data)
            if kind == "execution_interrupted":
                raise PromptInterruptedError(f"interrupted in node {data.get('node_id')} ({data.get('node_type')})")
        return history
