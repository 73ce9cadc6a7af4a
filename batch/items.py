"""What a batch works through: a folder of photos, or a table (.csv, .jsonl, PIE-Bench's mapping file) with a row for each."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from .pie_bench import read_entries, rows_of

PHOTOS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")


class InputError(Exception):
    """What is wrong with the table or its rows, one line a fault."""

    def __init__(self, faults: Iterable[str]) -> None:
        self.faults = list(faults)
        super().__init__("\n".join(self.faults))


@dataclass(frozen=True)
class Item:
    """One row: a name that is unique in the batch, its files, and all of its columns as text."""

    name: str
    image: Path | None
    mask: Path | None
    values: Mapping[str, str]


def read_items(source: Path) -> list[Item]:
    """The rows of a table, or one item for each photo of a folder and its subfolders, in the order of their paths.

    Columns `image` and `mask` name files, relative to the table. `id` names the row, else the image's name does.

    Raises InputError with every fault: a file that is missing, a name that occurs twice, a table that cannot be read.
    """
    if source.is_dir():
        photos = sorted(path for path in source.rglob("*") if path.suffix.lower() in PHOTOS)
        rows = [{"image": str(path.relative_to(source))} for path in photos]
    elif source.suffix.lower() in READERS and source.is_file():
        rows = READERS[source.suffix.lower()](source)
    else:
        raise InputError([f"{source} is neither a folder nor a .csv, .jsonl or .json file that exists."])
    folder = source if source.is_dir() else source.parent
    items = [_item(row, folder, number) for number, row in enumerate(rows, 1)]
    faults = [] if items else [f"{source} has no photos or rows."]
    faults += [
        f"row {number}: there is no file {path}."
        for number, item in enumerate(items, 1)
        for path in (item.image, item.mask)
        if path is not None and not path.is_file()
    ]
    seen: dict[str, int] = {}
    for number, item in enumerate(items, 1):
        if seen.setdefault(item.name, number) != number:
            faults.append(f"rows {seen[item.name]} and {number} are both named {item.name!r}; give each its own id.")
    if faults:
        raise InputError(faults)
    return items


def _item(row: Mapping[str, str], folder: Path, number: int) -> Item:
    image, mask = (folder / row[name] if row.get(name) else None for name in ("image", "mask"))
    name = row.get("id") or (str(Path(row["image"]).with_suffix("")) if image else f"row {number}")
    return Item(_as_file_name(name), image, mask, dict(row))


def _as_file_name(name: str) -> str:
    return re.sub(r"[^\w.-]+", "_", name).strip("._") or "item"


def _read_csv(path: Path) -> list[dict[str, str]]:
    try:
        # Spreadsheets put a byte order mark in front.
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file, restkey="", restval=""))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError([f"{path} is not a CSV file in UTF-8: {error}"]) from error
    faults = [f"row {number} has more fields than the header." for number, row in enumerate(rows, 1) if "" in row]
    if faults:
        raise InputError(faults)
    return rows


def _read_jsonl(path: Path) -> list[dict[str, str]]:
    rows, faults = [], []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            faults.append(f"line {number} is not JSON: {error}")
            continue
        if isinstance(row, dict):
            rows.append({str(key): "" if value is None else str(value) for key, value in row.items()})
        else:
            faults.append(f"line {number} is not an object with a name for each value.")
    if faults:
        raise InputError(faults)
    return rows


def _read_mapping(path: Path) -> list[dict[str, str]]:
    try:
        return rows_of(read_entries(path))
    except ValueError as error:
        raise InputError([str(error)]) from error


READERS = {".csv": _read_csv, ".jsonl": _read_jsonl, ".json": _read_mapping}
