"""A stored graph (ComfyUI's UI format), as the templates are: its API format, and a prompt's values on its nodes."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from .api import Prompt

NOTES = ("MarkdownNote", "Note")


def widget_names(node: Mapping[str, Any], object_info: Mapping[str, Any]) -> list[str | None]:
    """What each of a stored node's widgets_values is for; None: for the frontend alone.

    Raises ValueError where ComfyUI declares other inputs or another number of widgets for the node's class.
    It keeps a choice of its own behind a seed (what becomes of it after a run) and behind a file that can be uploaded.
    """
    declared = object_info[node["type"]]["input"]
    specs = {**declared.get("required", {}), **declared.get("optional", {})}
    names: list[str | None] = []
    for slot in node["inputs"]:
        # What belongs to one choice of a combo is named "combo.input", and only the combo is declared at the top.
        name = slot["name"].split(".")[0]
        if name not in specs:
            raise ValueError(f"{titled(node)} has an input {name} that this ComfyUI does not know.")
        if "widget" in slot:
            names.append(slot["name"])
            options = [*specs[name], {}][1]
            if options.get("control_after_generate") or options.get("image_upload"):
                names.append(None)
    if len(names) != len(node["widgets_values"]):
        raise ValueError(f"{titled(node)} stores {len(node['widgets_values'])} values for the widgets {names}.")
    return names


def titled(node: Mapping[str, Any]) -> str:
    """What a stored node is called: its own title, else its class."""
    return node.get("title") or node["type"]


def api_prompt(
    graph: Mapping[str, Any], object_info: Mapping[str, Any], sources: Mapping[int, Any] | None = None
) -> dict[str, dict[str, Any]]:
    """What the frontend would queue for a stored graph: widgets by name, links as [node, output].

    `sources` is for a graph with inputs from outside: link id -> what comes over it.
    Raises ValueError where a stored node has other inputs or widgets than ComfyUI declares for its class.
    """
    if sources is None:
        sources = {link[0]: [str(link[1]), link[2]] for link in graph["links"]}
    prompt = {}
    for node in graph["nodes"]:
        if node["type"] in NOTES:
            continue
        named = zip(widget_names(node, object_info), node["widgets_values"], strict=True)
        inputs = {name: value for name, value in named if name is not None}
        inputs |= {slot["name"]: sources[slot["link"]] for slot in node["inputs"] if slot["link"] is not None}
        prompt[str(node["id"])] = {"class_type": node["type"], "inputs": inputs, "_meta": {"title": titled(node)}}
    return prompt


def filled_in(graph: Mapping[str, Any], prompt: Prompt, object_info: Mapping[str, Any]) -> dict[str, Any]:
    """The graph as it would be where the prompt's titles and values had been typed into it.

    A node of the prompt is the graph's where both have the same id and class; any other has no place in it.
    """
    filled = deepcopy(dict(graph))
    for node in filled["nodes"]:
        queued = prompt.get(str(node["id"]))
        if queued is None or queued["class_type"] != node["type"]:
            continue
        node["title"] = queued["_meta"]["title"]
        for at, name in enumerate(widget_names(node, object_info)):
            if name in queued["inputs"]:
                node["widgets_values"][at] = queued["inputs"][name]
    return filled
