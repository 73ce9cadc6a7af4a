"""A line of text on the node itself, while it runs and afterwards."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io, ui


def report(node: type[io.ComfyNode], text: str, *others: Any) -> dict[str, Any]:  # noqa: ANN401  (ComfyUI's ui outputs)
    """Show `text` on the node in the browser, and return the `ui` that keeps it in the history, with `others` merged in."""
    tell(node, text)
    merged = ui.PreviewText(text).as_dict()
    for other in others:
        merged |= other.as_dict()
    return merged


def tell(node: type[io.ComfyNode], text: str) -> None:
    """Show `text` on the node while it runs.

    The frontend shows a node's text only when it comes as progress text. The node must have io.Hidden.unique_id; outside
    of the executor it is None and nobody is told.
    """
    node_id = node.hidden.unique_id if node.hidden is not None else None
    if node_id is not None:
        from server import PromptServer

        PromptServer.instance.send_progress_text(text, node_id)
