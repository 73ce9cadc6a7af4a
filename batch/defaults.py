"""Which columns go where in the shipped templates, so that their names alone are enough."""

from __future__ import annotations

from collections.abc import Sequence

from .items import InputError, Item
from .workflow import Graph, Setting, title_of

COLUMNS = {
    "before": (("Edit Image", "before"), ("Source prompt", "value"), ("Source prompt", "text")),
    "after": (("Edit Image", "after"), ("Target prompt", "value"), ("Target prompt", "text")),
}


def default_settings(graph: Graph, items: Sequence[Item], given: Sequence[Setting]) -> list[Setting]:
    """Settings for the columns `before` and `after` that all items have and no given setting uses, nor fills their place.

    Raises InputError where the workflow has no place for a column.
    """
    present = {(title_of(graph, node), name) for node, content in graph.items() for name in content["inputs"]}
    filled = {(setting.title, setting.input) for setting in given}
    settings = []
    for column, places in COLUMNS.items():
        if not all(column in item.values for item in items) or any(f"{{{column}}}" in each.value for each in given):
            continue
        place = next((place for place in places if place in present), None)
        if place is None:
            wanted = " or ".join(dict.fromkeys(repr(title) for title, _ in places))
            raise InputError(
                [
                    f"the table has a column {column!r}, but no node of the workflow is titled {wanted}; "
                    "say where it goes with --set."
                ]
            )
        if place not in filled:
            settings.append(Setting(*place, f"{{{column}}}"))
    return settings
