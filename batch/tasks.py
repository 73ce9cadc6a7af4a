"""From rows to what is done for each: a filled-in graph, the files it loads, and a key that names exactly this work."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .items import InputError, Item
from .worker import SUBFOLDER, Order
from .workflow import Graph, Setting, fill


@dataclass(frozen=True)
class Task:
    """An item's graph, and its files by their names on the server. Files are read when a worker takes the task."""

    key: str
    item: Item
    graph: Graph
    files: dict[str, Path]

    def order(self) -> Order:
        """With the files' bytes. Raises OSError for a file that cannot be read."""
        return Order(self.key, self.graph, {name: path.read_bytes() for name, path in self.files.items()})


def tasks_of(items: Sequence[Item], graph: Graph, settings: Sequence[Setting]) -> list[Task]:
    """One task an item, in their order. Raises InputError with the faults of all rows."""
    tasks, faults = [], []
    for item in items:
        try:
            tasks.append(_task(item, graph, settings))
        except InputError as error:
            faults += error.faults
        except OSError as error:
            faults.append(f"{item.name}: {error}.")
    if faults:
        raise InputError(faults)
    return tasks


def _task(item: Item, graph: Graph, settings: Sequence[Setting]) -> Task:
    files, names = {}, {}
    for column, path in (("image", item.image), ("mask", item.mask)):
        if path is not None:
            # Named after its content: the key below, made of the graph, depends on the pixels as well.
            name = hashlib.sha256(path.read_bytes()).hexdigest()[:20] + path.suffix.lower()
            files[name], names[column] = path, f"{SUBFOLDER}/{name}"
    filled = fill(graph, settings, item, names)
    digest = hashlib.sha256(json.dumps(filled, sort_keys=True).encode()).hexdigest()
    return Task(f"{item.name}-{digest[:8]}", item, filled, files)
