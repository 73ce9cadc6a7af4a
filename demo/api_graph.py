"""A graph in API format: make nodes, find them by class and title, set their inputs, remove them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

EditablePrompt = dict[str, dict[str, Any]]


def node(class_type: str, title: str, **inputs: Any) -> dict[str, Any]:  # noqa: ANN401  (JSON)
    """A node in API format."""
    return {"class_type": class_type, "inputs": inputs, "_meta": {"title": title}}


def title(node: Mapping[str, Any]) -> str:
    """A node's name in the workflow."""
    return node.get("_meta", {}).get("title") or node["class_type"]


def nodes(
    prompt: Mapping[str, Mapping[str, Any]], *, class_type: str | None = None, titled: str | None = None
) -> list[str]:
    """The ids of the nodes of this class or title."""
    return [
        node_id
        for node_id, node in prompt.items()
        if (class_type is None or node["class_type"] == class_type) and (titled is None or title(node) == titled)
    ]


def fill_in(prompt: EditablePrompt, node_ids: list[str], name: str, value: object) -> None:
    """Set an input of the given nodes."""
    for node_id in node_ids:
        prompt[node_id]["inputs"][name] = value


def remove_with_dependents(prompt: EditablePrompt, node_id: str) -> None:
    """Remove a node from the workflow, along with every node that requires it."""
    del prompt[node_id]
    dependents = [other for other, node in prompt.items() if any(is_link(v, node_id) for v in node["inputs"].values())]
    for dependent in dependents:
        if dependent in prompt:
            remove_with_dependents(prompt, dependent)


def is_link(value: object, node_id: str) -> bool:
    """Whether an input is connected to an output of this node."""
    return isinstance(value, list) and len(value) == 2 and value[0] == node_id
