"""The node's name before what went wrong: a message must say which node refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def in_the_name_of(node: str) -> Iterator[None]:
    """Put "<node>: " before the message of a ValueError, unless it begins with the node's name already."""
    try:
        yield
    except ValueError as error:
        if str(error).startswith(node):
            raise
        raise ValueError(f"{node}: {error}") from error
