"""Malformed trajectory files by the thousand: each must be refused in a sentence, or load and be usable.

    python dev.py bench fuzz [--cases 10000] [--seed 0]

Another exception, a message that is long or does not name the file, a case of more than a minute, and more than 300 MB of memory
beyond what the first case took are faults. hypothesis then shrinks the case and prints how to repeat it.
"""

from __future__ import annotations

import argparse
import faulthandler
import re
import resource
import tempfile
import time
from collections import Counter
from pathlib import Path

from _host import environment, prepare
from hypothesis import HealthCheck, Phase, given, seed, settings

SECONDS = 60
MEGABYTES = 300
MEMORY = Path("/dev/shm")


def peak() -> float:
    """The largest amount of memory that this process has held so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def kind_of(message: str | None) -> str:
    """A message without what is particular to one file."""
    particular = r"[0-9]+|'.*'|(?<=version ).*(?=, this)|(?<=facts, ).*(?=\); save)|(?<=entries )\(.*\)|\([0-9, ]+\)"
    return "loaded, used and saved again" if message is None else re.sub(particular, "...", message, flags=re.DOTALL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    prepare()
    from malformed_trajectories import File, malformed_files
    from whole_trajectories import outcome, whole_files

    outcomes: Counter[str] = Counter()
    # In memory where there is such a place: every file that loads is saved again, which would wait for the disk.
    with tempfile.TemporaryDirectory(prefix="retrace-fuzz-", dir=MEMORY if MEMORY.is_dir() else None) as folder:
        path = Path(folder) / "odd.safetensors"
        path.write_bytes(whole_files()[0])
        outcome(path)
        began, at_start = time.monotonic(), peak()

        @seed(options.seed)
        @settings(
            max_examples=options.cases,
            deadline=None,
            database=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=[HealthCheck.too_slow],
        )
        @given(malformed_files())
        def refused_or_usable(file: File) -> None:
            # A hang ends the process with the stack on the terminal.
            faulthandler.dump_traceback_later(SECONDS, exit=True)
            file.write(path)
            outcomes[kind_of(outcome(path))] += 1
            assert peak() - at_start < MEGABYTES, f"{peak() - at_start:.0f} MB more than a whole file takes"

        refused_or_usable()
        faulthandler.cancel_dump_traceback_later()
    print(environment())
    print(f"{outcomes.total()} files in {time.monotonic() - began:.0f} s, {peak() - at_start:.0f} MB beyond the first")
    print("| outcome | files |", "| --- | --- |", sep="\n")
    print(*(f"| {outcome} | {count} |" for outcome, count in outcomes.most_common()), sep="\n")


if __name__ == "__main__":
    main()
