"""What a server needs of the machine it runs on: an accelerator, a port, links, the end of a process."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path


def has_accelerator() -> bool:
    """Whether torch sees something faster than the CPU."""
    import torch  # takes seconds, and is only needed where the caller leaves the choice to us

    return torch.accelerator.is_available()


def claim_port(port: int) -> int:
    """A free loopback port where `port` is 0, else that port; OSError where it is not free."""
    with socket.socket() as probe:
        if os.name != "nt":  # there the option would allow a port that is in use
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
        return probe.getsockname()[1]


def link(path: Path, target: Path) -> None:
    """Make `path` lead to a file or folder, with what the system allows without further rights."""
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
    """Ask a process to end, and end it where it does not."""
    process.terminate()
    try:
        process.wait(timeout=15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdin is not None:
        process.stdin.close()
