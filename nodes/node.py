"""The base class of the pack's nodes: a node's inputs are checked against its own schema before it runs."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any

from comfy_api.latest import io

from ..host.naming import named
from .input_checks import check_inputs

Execute = Callable[..., io.NodeOutput]


class RetraceNode(io.ComfyNode):
    """A node whose `execute` runs only on inputs that its schema allows, whether from widgets or links."""

    def __init_subclass__(cls, **kwargs: Any) -> None:  # noqa: ANN401  (type's own keywords)
        super().__init_subclass__(**kwargs)
        execute = cls.__dict__.get("execute")
        # For each run ComfyUI makes subclasses of the node that hold copies of its attributes; their `execute` is wrapped already.
        if execute is not None and not hasattr(execute.__func__, "__wrapped__"):
            cls.execute = classmethod(_checked(execute.__func__))  # pyright: ignore[reportAttributeAccessIssue]

    @classmethod
    def title(cls) -> str:
        """The node's name in messages: of "DDIM Invert: unsample (Retrace)", only the name that help pages use."""
        schema = cls.define_schema()
        return (schema.display_name or schema.node_id).removesuffix(" (Retrace)").partition(": ")[0]


def _checked(execute: Execute) -> Execute:
    @wraps(execute)
    def checked(cls: type[RetraceNode], *args: Any, **kwargs: Any) -> io.NodeOutput:  # noqa: ANN401  (the node's inputs)
        schema = cls.define_schema()
        # As in ComfyUI, what a node's validate_inputs takes is checked by the node itself.
        own = inspect.signature(cls.validate_inputs).parameters
        inputs = [each for each in schema.inputs if each.id not in own]
        with named(cls.title()):
            # Read here rather than once at import, where all signatures together would slow down ComfyUI's start.
            check_inputs(inputs, inspect.signature(execute).bind(cls, *args, **kwargs).arguments)
            return execute(cls, *args, **kwargs)

    return checked
