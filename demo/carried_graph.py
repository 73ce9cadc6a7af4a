"""The graph that a picture's file carries, so that dropping it onto ComfyUI opens the graph.

A WebP file has a place for it: text in its EXIF tags, "prompt:" before the JSON, as ComfyUI's own SaveAnimatedWEBP writes it. The
frontend lays out a prompt by itself, if there is no workflow beside it.
"""

from __future__ import annotations

import io
import json
from collections.abc import Collection

from picture_parts import Graph
from PIL import Image

TAG = 0x0110
MOST_BYTES = 60_000
QUALITIES = (90, 85, 80, 70, 60, 50)


def needed(graph: Graph, ends: Collection[str]) -> Graph:
    """Only the nodes that lead to these."""
    found: set[str] = set()
    waiting = list(ends)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += [value[0] for value in graph[name]["inputs"].values() if isinstance(value, list)]
    return {name: node for name, node in graph.items() if name in found}


def numbered(graph: Graph) -> Graph:
    """The graph with numbers as names, as the frontend gives them; the title of "show ..." is what it shows."""
    numbers = {name: str(number) for number, name in enumerate(graph, 1)}
    stored: Graph = {}
    for name, node in graph.items():
        inputs = {
            key: [numbers[value[0]], value[1]] if isinstance(value, list) else value
            for key, value in node["inputs"].items()
        }
        label = name.partition("show ")[2]
        title = {"_meta": {"title": label}} if label else {}
        stored[numbers[name]] = {"class_type": node["class_type"], "inputs": inputs, **title}
    return stored


def webp(picture: Image.Image, graph: Graph) -> bytes:
    """The file, at the best quality that is small enough: it spends most of its bytes on decoded noise."""
    exif = Image.Exif()
    exif[TAG] = f"prompt:{json.dumps(numbered(graph), separators=(',', ':'))}"
    encoded = b""
    for quality in QUALITIES:
        file = io.BytesIO()
        picture.save(file, "WEBP", quality=quality, method=6, exif=exif)
        encoded = file.getvalue()
        if len(encoded) <= MOST_BYTES:
            break
    return encoded
