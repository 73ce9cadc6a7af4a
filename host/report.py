"""What a node reports about its run: a line of text, its progress, a missing output."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy.model_management
import comfy.utils
from comfy_api.latest import io, ui
from comfy_execution.graph_utils import ExecutionBlocker


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


def tell(node: type[io.ComfyNode], text: str) -> None:
    """Show `text` on the node while it runs.

    The frontend only shows text that arrives as progress text. The node must have io.Hidden.unique_id; outside the executor
    it is None, and nothing is sent.
    """
    node_id = node.hidden.unique_id if node.hidden is not None else None
    if node_id is not None:
        from server import PromptServer

        PromptServer.instance.send_progress_text(text, node_id)
