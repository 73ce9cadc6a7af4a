"""The one mechanism that prefixes errors and log lines with the name of the node they come from."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

LOGGER = "retrace"
"""The pack's logger."""


@contextmanager
def named(name: str | None) -> Iterator[None]:
    """Put "<name>: " before the message of a ValueError, and before what the pack logs meanwhile; None adds nothing.

    `nodes/node.py` does so for every node's `execute`, `nodes/input_checks.py` for a single input. What a node makes and
    another node runs later (a SAMPLER) keeps the name of the node that made it, and does so itself.
    """

    if name is None:
        yield
        return

    def prefix(record: logging.LogRecord) -> bool:
        record.msg = f"{name}: {record.msg}"
        return True

    logger = logging.getLogger(LOGGER)
    logger.addFilter(prefix)
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    finally:
        logger.removeFilter(prefix)
