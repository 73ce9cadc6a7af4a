"""Create a new file under a free name, completely or not at all, whoever else writes to the folder."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

if sys.platform != "win32":
    import fcntl

SUFFIX = ".retrace-part"


def write_new_file(folder: Path, names: Iterable[str], content: bytes) -> Path:
    """Write `content` to `folder` under the first of `names` that is free, and return its path.

    The content is first written and flushed to disk under a temporary name. Temporary files left in the folder by a killed process
    are removed; those of a live process are not. File modes follow the umask.

    Raises:
        OSError: if the folder cannot be written to, the disk is full, or every name is taken. Nothing is left behind.
    """
    _remove_leftovers(folder)
    temporary, file = _locked_temporary(folder)
    try:
        with file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            path = _claim_name(temporary, file, folder, names)
    finally:
        temporary.unlink(missing_ok=True)
    _flush_folder(folder)
    return path


def _remove_leftovers(folder: Path) -> None:
    for temporary in folder.glob(f".*{SUFFIX}"):
        # A lock ends with its process. A file that is locked, or gone by now, belongs to a live process.
        with contextlib.suppress(OSError):
            if sys.platform == "win32":  # Windows cannot remove a file that a process has open
                temporary.unlink()
            else:
                with temporary.open("r+b") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    temporary.unlink()


def _locked_temporary(folder: Path) -> tuple[Path, BinaryIO]:
    while True:
        temporary = folder / f".{secrets.token_hex(8)}{SUFFIX}"
        file = temporary.open("xb")
        if sys.platform != "win32":
            # Some network drives have no locks; `_remove_leftovers` then removes nothing.
            with contextlib.suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX)
        # Before we took the lock, another process may have mistaken this file for a leftover and removed it.
        if os.fstat(file.fileno()).st_nlink:
            return temporary, file
        file.close()


def _claim_name(temporary: Path, file: BinaryIO, folder: Path, names: Iterable[str]) -> Path:
    for name in names:
        with contextlib.suppress(FileExistsError):
            _give_name(temporary, file, folder / name)
            return folder / name
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))


def _give_name(temporary: Path, file: BinaryIO, path: Path) -> None:
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:
        # FAT and some network drives have no hard links: reserve the name with an empty file, then replace that file.
        path.open("xb").close()
        file.close()
        try:
            os.replace(temporary, path)
        except OSError:
            path.unlink()
            raise


def _flush_folder(folder: Path) -> None:
    """Flush the folder's new entry to disk, if the system can; Windows and some network drives cannot."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
