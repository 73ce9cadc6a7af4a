"""A stored graph (ComfyUI's UI format), as the templates are, with a prompt's values on its nodes."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from comfy_server import Prompt


def widget_names(node: Mapping[str, Any], object_info: Mapping[str, Any]) -> list[str | None]:
    """What each of a stored node's widgets_values is for; None: for the frontend alone.

    It keeps a choice of its own behind a seed (what becomes of it after a run) and behind a file that can be uploaded.
    """
    declared = object_info[node["type"]]["input"]
    specs = {**declared.get("required", {}), **declared.get("optional", {})}
    names: list[str | None] = []
    for slot in node["inputs"]:
        if "widget" in slot:
            names.append(slot["name"])
            # What belongs to one choice of a combo is named "combo.input", and only the combo is declared at the top.
            options = [*specs[slot["name"].split(".")[0]], {}][1]
            if options.get("control_after_generate") or options.get("image_upload"):
                names.append(None)
    return names


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
