"""Train the miniatures of tests/tiny_models from scratch: one command, seeded, resumable at any time.

    python tests/tiny_models/train.py --work FOLDER [--stage NAME ...]

runs the stages in order, or only the named ones. Whatever the work folder already contains is not done again, and an
interrupted stage resumes at the last saved iteration. FOLDER/log.txt shows the progress, FOLDER/sheets has samples.
`COMFYUI_PATH` is the ComfyUI tree whose tokenizer and layout tables are used.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
os.environ.setdefault("COMFYUI_PATH", str(HERE.parent.parent / ".dev" / "ComfyUI-0.30.0"))
sys.path[:0] = [str(HERE.parent), os.environ["COMFYUI_PATH"]]

import torch  # noqa: E402

from tiny_models import stages  # noqa: E402
from tiny_models.work import Work  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="where pictures, states and weights are kept")
    parser.add_argument("--stage", choices=stages.STAGES, action="append", help="default: all, in order")
    parser.add_argument("--pictures", type=int, default=6000, help="size of the training set")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--stored", type=Path, help="folder of stored parts: their stages count as finished")
    parser.add_argument("--begun", type=Path, help="folder of stored parts: their stages begin with them")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.work.mkdir(parents=True, exist_ok=True)

    def report(line: str) -> None:
        stamped = f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}"
        print(stamped, flush=True)
        with (options.work / "log.txt").open("a", encoding="utf-8") as log:
            log.write(stamped + "\n")

    work = Work(options.work, options.pictures, options.threads, report)
    for parts, finished in ((options.stored, True), (options.begun, False)):
        if parts:
            from tiny_models import checkpoint  # needs ComfyUI

            checkpoint.take_over_parts(work, parts, finished)
    for name in options.stage or stages.STAGES:
        stages.STAGES[name](work)


if __name__ == "__main__":
    main()
