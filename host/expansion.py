"""A node that stands for a graph: the links to its inputs, and the nodes that take its place (ComfyUI's node expansion)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from comfy_api.latest import io
from comfy_execution.graph_utils import GraphBuilder, is_link
from comfy_execution.graph_utils import Node as NewNode
from comfy_execution.progress import get_progress_state

Link = list[Any]
"""[node id, output index]"""
ABOVE = "retrace_above"
"""The key in a new node's "_meta", which ComfyUI's cache ignores, of what is shown before the text that it reports."""
FILES = (".safetensors", ".ckpt", ".pt", ".pth", ".gguf", ".sft")


class Expansion:
    """Builds the graph of a running node.

    The new nodes link to what the node's own inputs are linked to: a value instead of a link could not be compared with the
    last run's, and ComfyUI would run everything again. Their ids are the same in every run, for the same reason.
    The node needs io.Hidden.unique_id and io.Hidden.dynprompt.
    """

    def __init__(self, node: type[io.ComfyNode]) -> None:
        self._prompt: Any = node.hidden.dynprompt
        self._inputs: Mapping[str, Any] = self._prompt.get_node(node.hidden.unique_id)["inputs"]
        self._builder = GraphBuilder()
        self._phases: dict[str, str] = {}

    def linked(self, name: str) -> Link:
        """What the node's input is linked to."""
        return self._inputs[name]

    def node(self, name: str, class_type: str, phase: str = "", /, **inputs: Any) -> NewNode:  # noqa: ANN401  (values and links)
        """A new node; inputs that are None are left out. `phase`: what it does for the whole, in words."""
        given = {key: value for key, value in inputs.items() if value is not None}
        new = self._builder.node(class_type, id=name, **given)
        self._phases[new.id] = f"{phase}: " if phase else ""
        return new

    def finish(self, note: str) -> dict[str, Any]:
        """The graph, for NodeOutput's `expand`. What its nodes report stands below the note, after their phase, see `shown_on`."""
        return {
            node_id: {**content, "_meta": {ABOVE: f"{note}\n{self._phases[node_id]}"}}
            for node_id, content in self._builder.finalize().items()
        }

    def files_above(self, name: str) -> Iterator[str]:
        """The model files that the nodes upstream of an input load, by their widgets."""
        waiting, seen = [self.linked(name)], set()
        while waiting:
            node_id = waiting.pop()[0]
            if node_id in seen:
                continue
            seen.add(node_id)
            for value in self._prompt.get_node(node_id)["inputs"].values():
                if is_link(value):
                    waiting.append(value)
                elif isinstance(value, str) and value.lower().endswith(FILES):
                    yield value


def shown_on(node_id: str, text: str) -> tuple[str, str]:
    """The node of the user's own graph on which `text` of a running node is shown, and the text, below that node's note."""
    prompt: Any = get_progress_state().dynprompt
    shown = prompt.get_display_node_id(node_id)
    above = "" if shown == node_id else prompt.get_node(node_id).get("_meta", {}).get(ABOVE, "")
    return shown, above + text
