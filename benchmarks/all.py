"""Run every benchmark on a reduced set, and write what they print to one Markdown file, with commands, machine and versions.

    python dev.py bench all [NAME ...] [--full] [--output FILE]

What is stored in benchmarks/results is not measured again. `--full` runs each benchmark as it is without options.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TextIO

HERE = Path(__file__).resolve().parent
PACKAGES = ("torch", "diffusers", "transformers", "numpy", "opencv-python-headless")
REDUCED: Mapping[str, Sequence[str]] = {
    "overhead": ("--size", "256", "--steps", "3"),
    "side_by_side": ("--steps", "5", "--rounds", "3"),
    "memory": (),
    "attention_cost": ("--size", "256", "--rounds", "1"),
    "inversion": ("--scenes", "2"),
    "second_order": ("--scenes", "2"),
    "reconstruction": ("--scenes", "4", "--only", "^(?!.*(all at|from the|4 iter))"),
    "inpainting": ("--scenes", "4", "--steps", "20"),
    "flow_inversion": ("--random", "--scenes", "2", "--steps", "10"),
    "preprocessors": ("--sizes", "512", "--repeats", "3"),
    "scaling": ("--count", "20"),
    "fuzz": ("--cases", "2000"),
    "saving": ("--kills", "20"),
    "load": ("--prompts", "10"),
}
"""Name -> options of the reduced run, in the order of the report."""
APART: Mapping[str, str] = {
    "editing": "takes hours",
    "mutations": "takes hours, and is about the tests",
    "piebench": "needs the data set and its networks",
    "quality": "is about the miniatures",
    "same_bytes": "compares with an earlier recording",
    "strength": "takes hours",
    "versions": "needs other versions of ComfyUI",
}
"""Name -> why a benchmark is run by itself."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these")
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--output", type=Path, default=Path("benchmarks.md"))
    options = parser.parse_args()
    if unknown := sorted(set(options.names) - set(REDUCED)):
        parser.error(f"not among them: {', '.join(unknown)}; there are: {', '.join(REDUCED)}")
    failed = []
    with options.output.open("w", encoding="utf-8") as file:
        write = partial(tee, file)
        write(f"{heading()}\n")
        for name in options.names or REDUCED:
            arguments = () if options.full else REDUCED[name]
            write(f"\n## {name}\n\n`{shlex.join(('python', 'dev.py', 'bench', name, *arguments))}`\n\n")
            began = time.monotonic()
            status = run([sys.executable, str(HERE / f"{name}.py"), *arguments], write)
            write(
                f"\n{'ended' if status == 0 else f'failed with status {status}'} after {time.monotonic() - began:.0f} s\n"
            )
            failed += [name] if status else []
    print(f"\nwritten to {options.output}" + (f"; failed: {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


def heading() -> str:
    """When, on what, and with which versions."""
    comfyui = Path(os.environ["COMFYUI_PATH"]).name
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    return f"# Benchmarks\n\n{datetime.date.today().isoformat()}; {machine}; {comfyui}; {packages}"


def run(command: Sequence[str], write: Callable[[str], None]) -> int:
    """Run a program and write its output while it runs; returns its exit status."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8") as process:
        assert process.stdout is not None
        for line in process.stdout:
            write(line)
    return process.returncode


def tee(file: TextIO, text: str) -> None:
    """Write to the file and to the console."""
    for stream in (file, sys.stdout):
        stream.write(text)
        stream.flush()


if __name__ == "__main__":
    sys.exit(main())
