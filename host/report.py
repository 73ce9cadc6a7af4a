"""What a node reports about its run: a line of text, its progress, a missing output."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import comfy.model_management
import comfy.utils
from comfy_api.latest import io, ui
from comfy_execution.graph_utils import ExecutionBlocker

from .expansion import shown_on

SEEN = 2.0
"""Seconds after which the speed of a run counts as known."""


def report(node: type[io.ComfyNode], text: str, *others: Any) -> dict[str, Any]:  # noqa: ANN401  (ComfyUI's ui outputs)
    """Show `text` on the node in the browser, and return the `ui` that keeps it in the history, with `others` merged in."""
    tell(node, text)
    merged = ui.PreviewText(text).as_dict()
    for other in others:
        merged |= other.as_dict()
    return merged


def absent_output(text: str) -> ExecutionBlocker:
    """A missing output: nodes connected to it do not run, and the text is shown."""
    return ExecutionBlocker(text)


def frame_progress(total: int) -> Callable[[], None]:
    """A function to call after each of `total` frames: advances the node's progress bar, and raises if the user interrupts."""
    bar = comfy.utils.ProgressBar(total)

    def step() -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        bar.update(1)

    return step


def step_teller(node: type[io.ComfyNode], total: int) -> Callable[..., None]:
    """A function (steps done, detail="") that shows on the node how far a run of `total` steps is, and how long it will take.

    The clock starts at the first call, so that loading the model does not count.
    """
    started, skipped = 0.0, -1

    def told(done: int, detail: str = "") -> None:
        nonlocal started, skipped
        now = time.monotonic()
        if skipped < 0:
            started, skipped = now, done
        parts = (f"step {done} of {total}", detail, time_left(now - started, done - skipped, total - done))
        tell(node, ", ".join(part for part in parts if part))

    return told


def time_left(elapsed: float, done: int, remaining: int) -> str:
    """In words how long `remaining` steps take if `done` steps took `elapsed` seconds; empty while too little has been seen."""
    if elapsed < SEEN or done < 1:
        return ""
    seconds = elapsed / done * remaining
    return f"about {seconds:.0f} s left" if seconds < 100 else f"about {seconds / 60:.0f} min left"


def tell(node: type[io.ComfyNode], text: str) -> None:
    """Show `text` on the node while it runs.

    The frontend only shows text that arrives as progress text, for a node of the user's own graph. The node must have
    io.Hidden.unique_id; outside the executor it is None, and nothing is sent.
    """
    node_id = node.hidden.unique_id if node.hidden is not None else None
    if node_id is not None:
        from server import PromptServer

        shown, text = shown_on(node_id, text)
        PromptServer.instance.send_progress_text(text, shown)
