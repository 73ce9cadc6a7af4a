"""Saving a trajectory while the process is killed, and on a disk that is full: a file is whole or not there.

    python dev.py bench saving [--kills 100] [--seed 0]

A trajectory as of 50 steps at 512 x 512 pixels. kill -9 comes at a random moment while a process saves one after another. The full
disk is a file system in memory that only its own process sees; where the system does not allow one, a limit on a file's size stands
in for it. Needs a system that can fork.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from _host import environment, prepare

LONGEST_WAIT = 0.3
"""Seconds to the kill at most: several files' time."""
DISK = 24 * 2**20
"""Bytes: room for seven of the files and a part of the next."""


def trajectory(pack: ModuleType) -> Any:  # noqa: ANN401  (the pack's)
    """A Trajectory with random states [51, 1, 4, 64, 64]."""
    facts, made = pack.inversion.facts, pack.inversion.trajectory
    latents = torch.randn(51, 1, 4, 64, 64, generator=torch.Generator().manual_seed(0))
    model = facts.ModelFacts(torch.linspace(0.03, 14.6, 1000), "epsilon", "SD15", "random")
    inversion = facts.InversionFacts("ddim", 50, "leading", "clean", 1.0, "digest")
    return made.Trajectory(latents, torch.linspace(0, 14, 51), torch.zeros(50), model, inversion)


def is_whole(pack: ModuleType, path: Path, expected: Any) -> bool:  # noqa: ANN401
    """Whether a file loads as the trajectory that was saved; its bytes differ in the order of the metadata."""
    try:
        found = pack.inversion.trajectory_file.load_trajectory(path)
    except ValueError:
        return False
    return torch.equal(found.latents, expected.latents) and found.inversion == expected.inversion


def names() -> Iterator[str]:
    number = 0
    while True:
        number += 1
        yield f"cat_{number:05}_.safetensors"


def killed(pack: ModuleType, folder: Path, kills: int, seed: int) -> int:
    """Kill savers in the folder; returns how many of them left something wrong."""
    files, whole = pack.inversion.trajectory_file, trajectory(pack)
    suffix = pack.inversion.new_file.SUFFIX
    size = files.save_trajectory(whole, folder, names()).stat().st_size
    moments, found = random.Random(seed), Counter()
    for _ in range(kills):
        child = os.fork()
        if child == 0:
            while True:
                files.save_trajectory(whole, folder, names())
        time.sleep(moments.uniform(0, LONGEST_WAIT))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        saved = sorted(path for path in folder.iterdir() if not path.name.endswith(suffix))
        leftovers = [path.stat().st_size for path in folder.iterdir() if path.name.endswith(suffix)]
        found["files under their names"] += len(saved)
        found["of these not whole"] += sum(not is_whole(pack, path, whole) for path in saved)
        found["kills in the middle of a file"] += any(0 < left < size for left in leftovers)
        found["kills beside a whole file without a name"] += size in leftovers
        found["kills that left more than one part"] += len(leftovers) > 1
        for path in saved[1:]:
            path.unlink()
    files.save_trajectory(whole, folder, names())
    found["parts left after the next save"] = sum(path.name.endswith(suffix) for path in folder.iterdir())
    print(f"| kill -9 while saving, {size / 1e6:.1f} MB | {kills} |", "| --- | --- |", sep="\n")
    print(*(f"| {what} | {count} |" for what, count in found.items()), sep="\n", flush=True)
    faults = ("of these not whole", "kills that left more than one part", "parts left after the next save")
    return sum(found[fault] for fault in faults)


def on_full_disk(pack: ModuleType, output: Path) -> int:
    """Save into a folder until it fails, make room, save again; returns how much was wrong."""
    import folder_paths

    folder_paths.set_output_directory(str(output))
    # Imported here, since it imports ComfyUI's folders.
    from retrace_pack.host.trajectory_files import save_numbered  # pyright: ignore[reportMissingImports]

    whole = trajectory(pack)
    saved, message = output / save_numbered(whole, "trajectories/cat"), ""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    if not output.is_mount():
        resource.setrlimit(resource.RLIMIT_FSIZE, (saved.stat().st_size // 2, limits[1]))
    for _ in range(20):
        try:
            saved = output / save_numbered(whole, "trajectories/cat")
        except ValueError as error:
            message = str(error)
            break
    files = sorted(saved.parent.iterdir())
    wrong = sum(not is_whole(pack, path, whole) for path in files)
    files[-1].unlink()
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    again = is_whole(pack, output / save_numbered(whole, "trajectories/cat"), whole)
    print(f"| files saved before the disk was full | {len(files)} |\n| of these wrong, or left in part | {wrong} |")
    print(f"| the message | {message or 'none'} |\n| saved again when there was room | {again} |", flush=True)
    return wrong + (not message) + (not again)


def with_full_disk(folder: Path) -> int:
    """Run this file again, if possible with a small disk on the folder; returns how much was wrong there."""
    small_disk = [
        "unshare",
        "--mount",
        "--map-root-user",
        "sh",
        "-c",
        f'mount -t tmpfs -o size={DISK} none "$0" && exec "$@"',
    ]
    allowed = (
        shutil.which("unshare") and not subprocess.run([*small_disk, folder, "true"], capture_output=True).returncode
    )
    kind = f"tmpfs of {DISK >> 20} MB" if allowed else "a limit on a file's size"
    print(f"\n| a full disk: {kind} | |", "| --- | --- |", sep="\n", flush=True)
    again = [sys.executable, __file__, "--full-disk", folder]
    return subprocess.run([*small_disk, folder, *again] if allowed else again).returncode


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--full-disk", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    pack = prepare()
    from retrace_pack.inversion import trajectory_file  # noqa: F401  # pyright: ignore[reportMissingImports]

    if options.full_disk is not None:
        return on_full_disk(pack, options.full_disk)
    print(environment())
    with tempfile.TemporaryDirectory(prefix="retrace-saving-") as name:
        for part in ("killed", "full"):
            (Path(name) / part).mkdir()
        return killed(pack, Path(name) / "killed", options.kills, options.seed) + with_full_disk(Path(name) / "full")


if __name__ == "__main__":
    sys.exit(main())
