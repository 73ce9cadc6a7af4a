"""Stored graphs (ComfyUI's UI format, as in the templates): convert to the API format, and fill in a prompt's values."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from .api import Prompt

NOTES = ("MarkdownNote", "Note")
SLIDER = "IMAGECOMPARE"
"""An input of core's Compare Images: the frontend stores nothing of its widget, and queues two empty addresses before a run."""


def widget_names(node: Mapping[str, Any], object_info: Mapping[str, Any]) -> list[str | None]:
    """The input that each of a stored node's widgets_values belongs to; None for a value that only the frontend uses.

    The frontend adds its own widget after a seed (control after generate) and after a file that can be uploaded.

    Raises ValueError if ComfyUI declares other inputs or another number of widgets for the node's class.
    """
    specs = dict(declared_inputs(node, object_info))
    names: list[str | None] = []
    for slot in node["inputs"]:
        # An input that belongs to one choice of a combo is named "combo.input"; only the combo is declared at the top level.
        name = slot["name"].split(".")[0]
        if name not in specs:
            raise ValueError(f"{titled(node)} has an input {name} that this ComfyUI does not have.")
        if "widget" in slot:
            names.append(slot["name"])
            options = [*specs[name], {}][1]
            if options.get("control_after_generate") or options.get("image_upload"):
                names.append(None)
    if len(names) != len(node["widgets_values"]):
        raise ValueError(f"{titled(node)} stores {len(node['widgets_values'])} values for the widgets {names}.")
    return names


def declared_inputs(node: Mapping[str, Any], object_info: Mapping[str, Any]) -> list[tuple[str, list[Any]]]:
    """(name, [type, options]) of what ComfyUI declares for the node's class."""
    declared = object_info[node["type"]]["input"]
    return [*declared.get("required", {}).items(), *declared.get("optional", {}).items()]


def titled(node: Mapping[str, Any]) -> str:
    """A stored node's name: its title, or its class if it has none."""
    return node.get("title") or node["type"]


def api_prompt(
    graph: Mapping[str, Any], object_info: Mapping[str, Any], sources: Mapping[int, Any] | None = None
) -> dict[str, dict[str, Any]]:
    """The API prompt that the frontend would queue for a stored graph: widgets by name, links as [node, output].

    `sources` is for a graph with external inputs: link id -> what the link provides.
    Raises ValueError if a stored node's inputs or widgets are not those that ComfyUI declares for its class.
    """
    if sources is None:
        sources = {link[0]: [str(link[1]), link[2]] for link in graph["links"]}
    prompt = {}
    for node in graph["nodes"]:
        if node["type"] in NOTES:
            continue
        named = zip(widget_names(node, object_info), node["widgets_values"], strict=True)
        inputs = {name: value for name, value in named if name is not None}
        inputs |= {
            name: {"__value__": ["", ""]} for name, spec in declared_inputs(node, object_info) if spec[0] == SLIDER
        }
        inputs |= {slot["name"]: sources[slot["link"]] for slot in node["inputs"] if slot["link"] is not None}
        prompt[str(node["id"])] = {"class_type": node["type"], "inputs": inputs, "_meta": {"title": titled(node)}}
    return prompt


def filled_in(graph: Mapping[str, Any], prompt: Prompt, object_info: Mapping[str, Any]) -> dict[str, Any]:
    """The graph with the prompt's titles and values filled in.

    A node of the prompt belongs to the graph's node of the same id and class; other nodes are ignored.
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
