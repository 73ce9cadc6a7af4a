"""Call a node the way a saved workflow does: inputs that are not given take the schema's defaults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from comfy_api.latest import io


def run_node(node: type[io.ComfyNode], **inputs: Any) -> Any:
    """The NodeOutput of `execute` for the inputs, with the schema's defaults for missing ones; optional inputs stay unset.

    A dynamic combo is given as its key, or as a mapping with the key and some inputs of its option.
    Raises TypeError for an input that the schema does not have, or that is missing and has no default.
    """
    return node.execute(**with_defaults(node.define_schema().inputs, inputs))  # pyright: ignore[reportAttributeAccessIssue]


def with_defaults(declared: Sequence[io.Input], given: Mapping[str, Any]) -> dict[str, Any]:
    unknown = given.keys() - {each.id for each in declared}
    if unknown:
        raise TypeError(f"no input is named {', '.join(sorted(unknown))}")
    filled = {
        each.id: given[each.id] if each.id in given else _default(each)
        for each in declared
        if each.id in given or not each.optional
    }
    for each in declared:
        if isinstance(each, io.DynamicCombo.Input) and each.id in filled:
            value = filled[each.id]
            chosen = dict(value) if isinstance(value, Mapping) else {each.id: value}
            option = next((one for one in each.options if one.key == chosen[each.id]), None)
            inner = with_defaults(option.inputs, {k: v for k, v in chosen.items() if k != each.id}) if option else {}
            filled[each.id] = {**inner, each.id: chosen[each.id]}
    return filled


def _default(declared: io.Input) -> Any:
    if isinstance(declared, io.DynamicCombo.Input):
        return declared.options[0].key
    default = getattr(declared, "default", None)
    if default is None and isinstance(declared, io.Combo.Input) and declared.options:
        return declared.options[0]
    if default is None and isinstance(declared, io.String.Input):
        return ""
    if default is None:
        raise TypeError(f"{declared.id} is not given and has no default")
    return default
