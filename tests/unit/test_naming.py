"""host/naming: a node's name before its errors and log lines, and before no one else's."""

import logging

import pytest
from retrace_pack.host.naming import LOGGER, named


def test_the_name_stands_before_what_happens_meanwhile_and_nothing_else(caplog):
    log = logging.getLogger(LOGGER)
    with named("Outer"), named("Inner"):
        log.warning("first")
    with pytest.raises(ValueError, match="^Inner: second$"), named("Inner"):
        raise ValueError("second")
    with pytest.raises(TypeError, match="^third$"), named("Inner"):
        raise TypeError("third")
    with named(None):
        log.warning("fourth")
    assert caplog.messages == ["Inner: Outer: first", "fourth"]
