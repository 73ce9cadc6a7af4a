"""A node that stands for a graph: the links to its inputs, and the nodes that take its place (ComfyUI's node expansion)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from comfy_api.latest import io
from comfy_execution.graph_utils import GraphBuilder, is_link
from comfy_execution.graph_utils import Node as NewNode

Link = list[Any]
"""[node id, output index]"""
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

    def linked(self, name: str) -> Link:
        """What the node's input is linked to."""
        return self._inputs[name]

    def node(self, name: str, class_type: str, **inputs: Any) -> NewNode:  # noqa: ANN401  (values and links)
        """A new node; inputs that are None are left out."""
        return self._builder.node(
            class_type, id=name, **{key: value for key, value in inputs.items() if value is not None}
        )

    def finish(self) -> dict[str, Any]:
        """The graph, for NodeOutput's `expand`."""
        return self._builder.finalize()

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
