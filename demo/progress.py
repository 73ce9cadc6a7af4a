"""A prompt's progress in the terminal: one line per node, with a progress bar while it counts steps."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping

import batch_package  # noqa: F401  (for `batch`)

from batch.events import Event

_BAR = 30


class Progress:
    """Shows a prompt's events as they arrive; a context manager, so that the last line is always terminated."""

    def __init__(self, titles: Mapping[str, str]) -> None:
        self._titles = titles
        self._width = max(map(len, titles.values()), default=0)
        self._live = sys.stdout.isatty()
        self._node: str | None = None
        self._started = 0.0
        self._steps = 0

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._node is not None:
            self._show("stopped", end="\n")

    def __call__(self, event: Event) -> None:
        """Handle one event of the prompt."""
        if event.kind == "executing":
            self._change_node(event.node)
        elif event.kind == "progress" and self._node is not None:
            self._steps = event.data["max"]
            if self._live:
                self._show(bar(event.data["value"], event.data["max"]), end="")

    def _change_node(self, node: str | None) -> None:
        if self._node is not None:
            steps = f", {self._steps} steps" if self._steps else ""
            self._show(f"{time.monotonic() - self._started:.1f} s{steps}", end="\n")
        self._node, self._started, self._steps = node, time.monotonic(), 0
        if node is not None and self._live:
            self._show("...", end="")

    def _show(self, state: str, end: str) -> None:
        # Padded, so that a shorter state overwrites a longer one.
        name = self._titles.get(self._node or "", self._node or "")
        start = "\r" if self._live else ""
        print(f"{start}  {name:<{self._width}}  {state:<{_BAR + 16}}", end=end, flush=True)


def bar(value: int, maximum: int) -> str:
    """A bar such as `[#####-----] 25/50`."""
    full = _BAR * value // max(1, maximum)
    return f"[{'#' * full}{'-' * (_BAR - full)}] {value}/{maximum}"
