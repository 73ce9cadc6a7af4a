"""The workflow of a batch: a shipped template or a graph in API format, filled in for each row."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .items import InputError, Item
from .stored_graph import api_prompt

TEMPLATES = Path(__file__).resolve().parent.parent / "workflows"
LOADERS = {"image": "LoadImage", "mask": "LoadImageMask"}
MODEL_FILES = (".safetensors", ".sft", ".ckpt", ".pt", ".pth", ".gguf", ".bin")
RESULTS = ("SaveImage", "PreviewImage")

Graph = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Setting:
    """`Title.input=value` of the command line; {column} in the value stands for a row's text."""

    title: str
    input: str
    value: str

    @staticmethod
    def parse(text: str) -> Setting:
        """Raises InputError for text of another form."""
        place, equals, value = text.partition("=")
        title, dot, name = place.rpartition(".")
        if not (equals and dot and title and name):
            raise InputError([f'--set {text!r} is not of the form "Title.input=value".'])
        return Setting(title.strip(), name.strip(), value)


def read_workflow(name: str) -> dict[str, Any]:
    """The stored graph of a shipped template, or the graph in API format of a file.

    Raises InputError for anything else, such as a file that the frontend saved for itself.
    """
    template, path = TEMPLATES / f"{name}.json", Path(name)
    if template.is_file():
        return json.loads(template.read_text("utf-8"))
    if not path.is_file():
        shipped = ", ".join(sorted(each.stem for each in TEMPLATES.glob("*.json")))
        raise InputError([f"--workflow {name!r} is neither a file nor one of the templates: {shipped}."])
    try:
        graph = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise InputError([f"{path} is not JSON: {error}"]) from error
    if not isinstance(graph, dict) or not all(isinstance(n, dict) and "class_type" in n for n in graph.values()):
        raise InputError([f"{path} is not in API format; use Workflow > Export (API) in ComfyUI."])
    return graph


def as_prompt(workflow: Mapping[str, Any], object_info: Mapping[str, Any]) -> Graph:
    """In API format, whichever of the two it is in."""
    return api_prompt(workflow, object_info) if "nodes" in workflow else deepcopy(dict(workflow))


def fill(graph: Graph, settings: Sequence[Setting], item: Item, files: Mapping[str, str]) -> Graph:
    """The graph with a row's values; `files` says what the server calls its image and mask.

    Raises InputError with every fault: a title, an input or a column that does not exist, a value of the wrong type.
    """
    filled, faults = deepcopy(graph), []
    for setting in settings:
        try:
            _set(filled, setting, setting.value.format_map(item.values))
        except (KeyError, ValueError, IndexError) as error:
            reason = f"there is no column {error}" if isinstance(error, KeyError) else str(error)
            faults.append(f"{item.name}: --set {setting.title}.{setting.input}={setting.value}: {reason}.")
    for column, file in files.items():
        nodes = nodes_of(filled, (LOADERS[column],))
        if len(nodes) == 1:
            filled[nodes[0]]["inputs"]["image"] = file
        else:
            titles = ", ".join(title_of(filled, node) for node in nodes) or "none"
            faults.append(
                f"{item.name}: the workflow must have one {LOADERS[column]} node for the {column}, and it has {titles}."
            )
    if faults:
        raise InputError(faults)
    return filled


def nodes_of(graph: Graph, classes: Sequence[str]) -> list[str]:
    """The ids of the nodes of these classes, those of the first class that occurs."""
    for name in classes:
        if found := [node for node, content in graph.items() if content["class_type"] == name]:
            return found
    return []


def model_files(value: object) -> list[str]:
    """The names of model files among all strings of a graph in either format, and after the "=" of settings."""
    if isinstance(value, str):
        name = value.rpartition("=")[2]
        return [name] if name.endswith(MODEL_FILES) else []
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, (list, tuple)) else ()
    return sorted({name for part in parts for name in model_files(part)})


def title_of(graph: Graph, node: str) -> str:
    return graph[node].get("_meta", {}).get("title", graph[node]["class_type"])


def _set(graph: Graph, setting: Setting, text: str) -> None:
    nodes = [node for node in graph if title_of(graph, node) == setting.title]
    if len(nodes) != 1:
        titles = ", ".join(sorted({title_of(graph, node) for node in graph}))
        raise ValueError(f"{len(nodes)} nodes have this title; the titles are {titles}")
    inputs = graph[nodes[0]]["inputs"]
    if setting.input not in inputs:
        raise ValueError(f"the node has no such input, only {', '.join(inputs)}")
    present = inputs[setting.input]
    if isinstance(present, list):
        raise ValueError("the input is linked to another node")
    inputs[setting.input] = _converted(text, present)


def _converted(text: str, present: object) -> object:
    """The text as a value of the present one's type."""
    if isinstance(present, bool):
        if text.lower() not in ("true", "false"):
            raise ValueError(f"{text!r} is neither true nor false")
        return text.lower() == "true"
    return type(present)(text) if isinstance(present, (int, float)) else text
