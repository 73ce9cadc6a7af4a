"""The output folder of a batch: files written whole or not at all, and one line for each item that has come to its end."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from .items import InputError

MODELS = "models"
"""The entry of job.json that holds the fingerprints of model files by name."""


@dataclass(frozen=True)
class Entry:
    """The end of one item: `status` is "done" or "failed"; `kind` says what failed, in one of worker.py's words."""

    key: str
    status: str
    files: tuple[str, ...] = ()
    kind: str = ""
    message: str = ""
    seconds: float = 0.0
    tries: int = 1
    row: Mapping[str, str] = field(default_factory=dict)


class Ledger:
    """OUT/ledger.jsonl, OUT/images and OUT/job.json, held by one process at a time; a context manager."""

    def __init__(self, folder: Path, job: Mapping[str, Any]) -> None:
        """`job` is what all items share, with the fingerprints of its model files under MODELS.

        Raises InputError where the folder belongs to another job or process, or a model file has changed since.
        """
        self.folder = folder
        (folder / "images").mkdir(parents=True, exist_ok=True)
        self._lock = _locked(folder / "lock")
        try:
            self._check_job(job)
            entries = [Entry(**line) for line in read_lines(folder / "ledger.jsonl")]
            self.entries = {entry.key: entry for entry in entries}
            self._file = (folder / "ledger.jsonl").open("ab")
        except BaseException:
            self._lock.close()
            raise

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()
        self._lock.close()

    def commit(self, entry: Entry, files: Mapping[str, bytes]) -> None:
        """Write the files, then the line that says so; a crash between the two leaves the item to be done again."""
        for name, content in files.items():
            write_whole(self.folder / "images" / name, content)
        self._file.write(json.dumps(asdict(entry), ensure_ascii=False).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self.entries[entry.key] = entry

    def _check_job(self, job: Mapping[str, Any]) -> None:
        path, models = self.folder / "job.json", job.get(MODELS, {})
        if path.exists():
            earlier = json.loads(path.read_text("utf-8"))
            if different := sorted(key for key in {*earlier, *job} - {MODELS} if earlier.get(key) != job.get(key)):
                raise InputError(
                    [
                        f"{self.folder} holds a batch with other settings ({', '.join(different)}); "
                        "repeat them, or choose another --output."
                    ]
                )
            # A server on another machine tells none of them: only what is known of both is compared.
            known = earlier.get(MODELS, {})
            if changed := sorted(name for name in models if known.get(name, models[name]) != models[name]):
                raise InputError(
                    [
                        f"{self.folder} holds a batch that was begun with other files of the same name ({', '.join(changed)}); "
                        "put the earlier ones back, or choose another --output."
                    ]
                )
            models = {**known, **models}
        write_whole(path, json.dumps({**job, MODELS: models}, indent=2, ensure_ascii=False).encode())


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a file of JSON lines, none if it does not exist; a line that a crash tore off is cut away."""
    if not path.exists():
        return []
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        with path.open("r+b") as file:
            file.truncate(whole)
    return [json.loads(line) for line in content[:whole].splitlines()]


def write_whole(path: Path, content: bytes) -> None:
    """Write a file under a temporary name, to the disk, and put it in place."""
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def _locked(path: Path) -> IO[str]:
    """The open file, locked until it is closed or the process ends."""
    file = path.open("a+")
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise InputError(
            [f"Another batch is writing to {path.parent}; wait for it, or choose another --output."]
        ) from error
    return file
