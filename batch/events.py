"""The events that a running ComfyUI sends over its websocket. Needs websocket-client, which ComfyUI does not install."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import Any

TEXT = 3
"""ComfyUI's number for a binary message with a node's progress text; the others are preview images."""


@dataclass(frozen=True)
class Event:
    """One message of the server's websocket: ComfyUI's own type and data; `preview` with the picture's `bytes`; `text` with the
    `node` that shows it and the `text`."""

    kind: str
    data: dict[str, Any]

    @property
    def node(self) -> str | None:
        """The id, as in the prompt, of the node that the event is about."""
        return self.data.get("display_node") or self.data.get("node")


class EventStream:
    """The websocket connection of one client."""

    def __init__(self, url: str, client_id: str, timeout: float) -> None:
        import websocket

        self._module = websocket
        address = url.replace("http", "ws", 1)
        self._socket = websocket.create_connection(f"{address}/ws?clientId={client_id}", timeout=timeout)

    def next(self, timeout: float = 1.0) -> Event | None:
        """The next message, or None if none arrives within `timeout` seconds. Raises ConnectionError if the server is gone."""
        self._socket.settimeout(timeout)
        try:
            message = self._socket.recv()
        except self._module.WebSocketTimeoutException:
            return None
        except (self._module.WebSocketException, OSError) as error:
            raise ConnectionError(str(error)) from error
        if isinstance(message, bytes):
            return _binary(message)
        decoded = json.loads(message)
        return Event(decoded["type"], decoded.get("data", {}))

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


def _binary(message: bytes) -> Event:
    """A message of two numbers (its type; the picture's format, or the length of the node's id) and their content."""
    kind, number = struct.unpack(">II", message[:8])
    if kind == TEXT:
        node, text = message[8 : 8 + number].decode(), message[8 + number :].decode()
        return Event("text", {"node": node, "text": text})
    return Event("preview", {"bytes": message[8:]})
