"""Run a graph in API format in this process, without a server: only what a wanted output needs, and nothing twice."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from types import SimpleNamespace
from typing import Any

Graph = Mapping[str, Mapping[str, Any]]
Link = list[Any]


class GraphRun:
    """A graph. `given`: by id, the first output of the nodes that it links to but does not have."""

    def __init__(self, graph: Graph, given: Mapping[str, Any]) -> None:
        self.graph = dict(graph)
        self.done: dict[str, Any] = {name: (value,) for name, value in given.items()}
        self._alike: dict[Hashable, str] = {}
        self._own = _own_nodes()

    def get_node(self, node_id: str) -> Mapping[str, Any]:
        """As ComfyUI's DynamicPrompt, for nodes that look at the graph."""
        return self.graph.get(node_id, {"inputs": {}})

    def input_of(self, class_type: str, name: str) -> Link | None:
        """What an input of the only node of a class is linked to; None if no such node is known by now."""
        return next((each["inputs"][name] for each in self.graph.values() if each["class_type"] == class_type), None)

    def value(self, link: Link) -> Any:  # noqa: ANN401  (what nodes give)
        """The value of a node's output, [node id, index]."""
        node_id, index = link
        if node_id not in self.done:
            # Nodes that stand for graphs repeat each other's nodes: ComfyUI keeps the results of equal ones, and so does this.
            first = self._alike.setdefault(self._signature(node_id), node_id)
            self.done[node_id] = self.done[first] if first in self.done else self._run(node_id)
        found = self.done[node_id][index]
        return self.value(found) if _is_link(found) else found

    def _run(self, node_id: str) -> tuple[Any, ...]:
        """The outputs; those of a node that stands for a graph are links into that graph, which then belongs to this one."""
        from node_call import run_node

        import nodes as core

        content = self.graph[node_id]
        inputs = {name: self.value(each) if _is_link(each) else each for name, each in content["inputs"].items()}
        node = self._own.get(content["class_type"])
        if node is None:
            stock = core.NODE_CLASS_MAPPINGS[content["class_type"]]
            return getattr(stock(), stock.FUNCTION)(**inputs)
        output = run_node(self._prepared(node, node_id), **inputs)
        self.graph |= output.expand or {}
        return output.result

    def _signature(self, node_id: str) -> Hashable:
        """What the outputs of a node follow from: equal ones are the same."""
        if node_id not in self.graph:
            return node_id
        content = self.graph[node_id]
        inputs = (
            (name, (self._signature(each[0]), each[1]) if _is_link(each) else repr(each))
            for name, each in sorted(content["inputs"].items())
        )
        return content["class_type"], *inputs

    def _prepared(self, node: Any, node_id: str) -> Any:  # noqa: ANN401  (node classes)
        """The node as ComfyUI prepares one that stands for a graph."""
        from comfy_api.latest import io
        from comfy_execution.graph_utils import GraphBuilder

        if not node.define_schema().enable_expand:
            return node
        _without_browser()
        GraphBuilder.set_default_prefix(node_id, 0)
        hidden = {io.Hidden.unique_id: node_id, io.Hidden.dynprompt: self}
        return node.PREPARE_CLASS_CLONE({"hidden_inputs": hidden})


def _without_browser() -> None:
    """Give ComfyUI a place to send a node's text to."""
    from server import PromptServer

    PromptServer.instance = SimpleNamespace(send_progress_text=lambda *sent: None)  # pyright: ignore


def _own_nodes() -> dict[str, Any]:
    from retrace_pack.nodes import NODES  # pyright: ignore[reportMissingImports]

    return {node.define_schema().node_id: node for node in NODES}


def _is_link(value: Any) -> bool:  # noqa: ANN401
    from comfy_execution.graph_utils import is_link

    return is_link(value)
