"""A fault that a test must notice."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """One fault of the kind that people make: a sign, an index, a swapped row, a lost mask, a lost restore.

    Attributes:
        file: where it is put in, relative to the repository root.
        old, new: the text that it replaces, which the file holds exactly once, and what it puts there.
        tests: the nearest tests, as pytest takes them on its command line; one of them must fail.
        why: what is wrong with the code then.
    """

    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    why: str
