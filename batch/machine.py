"""What a server needs from the machine: an accelerator, a free port, links, a way to end a process."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path


def has_accelerator() -> bool:
    """Whether torch has a device faster than the CPU."""
    import torch  # takes seconds, and is only needed where the caller leaves the choice to us

    return torch.accelerator.is_available()


def claim_port(port: int) -> int:
    """A free loopback port if `port` is 0, else `port` itself. Raises OSError if it is in use."""
    with socket.socket() as probe:
        if os.name != "nt":  # on Windows this option would allow a port that is in use
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
        return probe.getsockname()[1]


def link(path: Path, target: Path) -> None:
    """Make `path` point to a file or folder, in a way that needs no special privileges."""
    target = target.resolve(strict=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    if os.path.lexists(path):
        path.unlink()
    try:
        path.symlink_to(target, target_is_directory=target.is_dir())
        return
    except OSError:
        if sys.platform != "win32":
            raise
    if target.is_dir():
        import _winapi

        _winapi.CreateJunction(str(target), str(path))
        return
    try:
        os.link(target, path)
    except OSError:  # another drive
        shutil.copyfile(target, path)


def end_process(process: subprocess.Popen[bytes]) -> None:
    """Terminate a process, and kill it if it does not exit."""
    process.terminate()
    try:
        process.wait(timeout=15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdin is not None:
        process.stdin.close()
