"""Results that took hours, one line each in benchmarks/results/, not measured again while the weights stay the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent / "results"


def read(name: str) -> Iterator[dict[str, Any]]:
    path = FOLDER / f"{name}.jsonl"
    if path.exists():
        yield from map(json.loads, path.read_text(encoding="utf-8").splitlines())


def append(name: str, record: Any) -> None:  # noqa: ANN401
    """Append a dataclass of results, rounded to five digits."""
    line = json.dumps({key: _rounded(value) for key, value in asdict(record).items()})
    FOLDER.mkdir(exist_ok=True)
    with (FOLDER / f"{name}.jsonl").open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")


def _rounded(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value
