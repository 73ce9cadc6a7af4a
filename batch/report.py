"""What a person looks at after a batch: report.html, sheet.jpg and failed.csv, made from the ledger."""

from __future__ import annotations

import csv
import html
import io
import os
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from .ledger import Entry, write_whole
from .tasks import Task

SHEET_CELL, SHEET_PAIRS, SHEET_COLUMNS = 192, 60, 3

PAGE = """<!doctype html>
<meta charset="utf-8"><title>Retrace batch</title>
<style>
body {{ font: 15px system-ui, sans-serif; margin: 2rem; background: #f6f6f6; color: #222 }}
article {{ background: #fff; border-radius: 6px; padding: 12px; margin: 12px 0; display: flex; gap: 12px; flex-wrap: wrap }}
article img {{ height: 256px; max-width: 100%; border-radius: 4px }}
article p {{ flex-basis: 100%; margin: 0 }}
.failed {{ border-left: 4px solid #c33 }}
label {{ margin-right: 1rem }}
#done:not(:checked) ~ main .done, #failed:not(:checked) ~ main .failed {{ display: none }}
</style>
<h1>Retrace batch</h1>
<input type="checkbox" id="done" checked> <label for="done">{done} done</label>
<input type="checkbox" id="failed" checked> <label for="failed">{failed} failed</label>
<main>
{articles}
</main>
"""


def write_report(folder: Path, tasks: Sequence[Task], entries: dict[str, Entry]) -> None:
    """Write the three files; pictures are linked relative to `folder`. Tasks without an entry are left out."""
    ended = [(task, entries[task.key]) for task in tasks if task.key in entries]
    done = sum(entry.status == "done" for _, entry in ended)
    articles = "\n".join(_article(folder, task, entry) for task, entry in ended)
    page = PAGE.format(done=done, failed=len(ended) - done, articles=articles)
    write_whole(folder / "report.html", page.encode())
    _write_sheet(folder, [(task, entry) for task, entry in ended if entry.files][:SHEET_PAIRS])
    _write_failed(folder, [(task, entry) for task, entry in ended if entry.status == "failed"])


def _article(folder: Path, task: Task, entry: Entry) -> str:
    pictures = [task.item.image] if task.item.image else []
    pictures += [folder / "images" / name for name in entry.files]
    shown = "".join(f'<img loading="lazy" src="{html.escape(_link(folder, path))}">' for path in pictures)
    words = ", ".join(f"{name}: {value}" for name, value in task.item.values.items() if value)
    reason = f" &mdash; {html.escape(f'{entry.kind}: {entry.message}')}" if entry.kind else ""
    text = f"<p><b>{html.escape(task.key)}</b> {html.escape(words)} ({entry.seconds:.1f} s){reason}</p>"
    return f'<article class="{entry.status}">{shown}{text}</article>'


def _link(folder: Path, path: Path) -> str:
    return Path(os.path.relpath(path, folder)).as_posix()


def _write_sheet(folder: Path, ended: Sequence[tuple[Task, Entry]]) -> None:
    """Pairs of photo and first result, side by side."""
    if not ended:
        return
    rows = -(-len(ended) // SHEET_COLUMNS)
    sheet = Image.new("RGB", (SHEET_COLUMNS * 2 * SHEET_CELL, rows * SHEET_CELL), "white")
    for number, (task, entry) in enumerate(ended):
        left, top = number % SHEET_COLUMNS * 2 * SHEET_CELL, number // SHEET_COLUMNS * SHEET_CELL
        for place, path in enumerate((task.item.image, folder / "images" / entry.files[0])):
            if path is not None:
                with Image.open(path) as picture:
                    small = picture.convert("RGB")
                small.thumbnail((SHEET_CELL - 4, SHEET_CELL - 4))
                sheet.paste(small, (left + place * SHEET_CELL, top))
    encoded = io.BytesIO()
    sheet.save(encoded, "JPEG", quality=88)
    write_whole(folder / "sheet.jpg", encoded.getvalue())


def _write_failed(folder: Path, ended: Sequence[tuple[Task, Entry]]) -> None:
    """The rows that failed, as a table that is a valid input again: its files are named relative to the table."""
    path = folder / "failed.csv"
    if not ended:
        path.unlink(missing_ok=True)
        return
    rows = [_failed_row(folder, task, entry) for task, entry in ended]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)), restval="")
    writer.writeheader()
    writer.writerows(rows)
    write_whole(path, text.getvalue().encode())


def _failed_row(folder: Path, task: Task, entry: Entry) -> dict[str, str]:
    row = {"id": task.item.name, **task.item.values, "failure": f"{entry.kind}: {entry.message}"}
    files = {"image": task.item.image, "mask": task.item.mask}
    return row | {name: _link(folder, path) for name, path in files.items() if path is not None}
