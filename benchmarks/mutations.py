"""Would the tests notice? Puts each fault of tests/faults/ into a copy of the tree and runs the tests named with it.

Needs a system that can fork: most of such a run would be imports of torch, diffusers and ComfyUI, which one process does here.

    python dev.py bench mutations                        all of them
    python dev.py bench mutations --only attention/      those whose file or description holds the text
    python dev.py bench mutations --list

The tests run without a fault first, so that a test that fails anyway counts for nothing. Ends with an error when a fault
survives or cannot be put in.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from faults import FAULTS  # noqa: E402
from faults.fault import Fault  # noqa: E402

PASSED, FAILED = 0, 1


def import_what_is_slow() -> None:
    """Everything that the tests import but the pack and themselves, as their conftest does it."""
    import diffusers.schedulers.scheduling_ddim_inverse  # noqa: F401
    import hypothesis  # noqa: F401
    import torch

    torch.set_num_threads(1)
    sys.path.insert(0, os.environ["COMFYUI_PATH"])
    from comfy.cli_args import args

    args.cpu = args.use_pytorch_cross_attention = True
    import comfy.sd  # noqa: F401

    import nodes  # noqa: F401


def copy_tree(target: Path) -> None:
    """What git knows or would add, without the files that a deletion has not yet been committed of."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout.decode().split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target / name)


def run_tests(tree: Path, tests: Sequence[str]) -> tuple[int, str]:
    """Pytest's exit status and its output."""
    arguments = ["-x", "-q", "-n", "0", "-p", "no:cacheprovider", "--confcutdir", str(tree / "tests"), *tests]
    with tempfile.TemporaryFile("w+") as output:
        child = os.fork()
        if child == 0:
            os.chdir(tree)
            os.dup2(output.fileno(), sys.stdout.fileno())
            os.dup2(output.fileno(), sys.stderr.fileno())
            os._exit(pytest.main(arguments))
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        output.seek(0)
        return status, output.read()


def outcome(tree: Path, fault: Fault) -> str:
    """ "caught", or what is wrong instead."""
    file = tree / fault.file
    source = file.read_text(encoding="utf-8")
    if source.count(fault.old) != 1:
        return f"CANNOT BE PUT IN: {source.count(fault.old)} places"
    file.write_text(source.replace(fault.old, fault.new), encoding="utf-8")
    status, output = run_tests(tree, fault.tests)
    file.write_text(source, encoding="utf-8")
    if status == FAILED:
        return "caught"
    return "SURVIVED" if status == PASSED else f"NOT RUN: {output.strip().splitlines()[-1]}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="TEXT", help="faults whose file or description holds the text")
    parser.add_argument("--list", action="store_true", help="name the faults and run nothing")
    options = parser.parse_args()
    chosen = [fault for fault in FAULTS if options.only in f"{fault.file}: {fault.why}"]
    if options.list:
        print("\n".join(f"{fault.file}: {fault.why}" for fault in chosen))
        return 0
    began, caught = time.monotonic(), 0
    # A module of the same length, changed within the same second, would be read from its compiled form.
    sys.dont_write_bytecode = True
    import_what_is_slow()
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        copy_tree(tree)
        status, output = run_tests(tree, sorted({test for fault in chosen for test in fault.tests}))
        if status != PASSED:
            print(f"{output}\nthe tests do not pass without a fault")
            return 1
        print("| file | fault | outcome |\n| --- | --- | --- |")
        for fault in chosen:
            result = outcome(tree, fault)
            caught += result == "caught"
            print(f"| {fault.file} | {fault.why} | {result} |", flush=True)
    print(f"{caught} of {len(chosen)} faults caught in {(time.monotonic() - began) / 60:.0f} minutes")
    return 0 if caught == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main())
