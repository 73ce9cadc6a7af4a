"""Run ComfyUI's main.py, and end it as soon as the parent process ends, in whatever way.

    python launcher.py BASE main.py [arguments]

The parent holds the other end of standard input and never writes to it, so the pipe closes even if the parent is killed.
This process then exits and removes the folder BASE (unless it is ""), so that nothing is left behind.
"""

import os
import runpy
import shutil
import signal
import sys
import threading

ATTEMPTS = 100
"""At a folder in which ComfyUI, which still runs, makes files while it is removed."""


def end_with_starter(base: str) -> None:
    """Wait until standard input closes, then exit immediately."""
    while os.read(0, 1024):
        pass
    for _ in range(ATTEMPTS if base else 0):
        shutil.rmtree(base, ignore_errors=True)
        if not os.path.exists(base):
            break
    os._exit(1)


def main() -> None:
    """Run the script like `python main.py` in the current folder."""
    base, script = sys.argv[1:3]
    # Ctrl-C reaches the terminal's whole process group; the parent decides what happens to ComfyUI.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with_starter, args=(base,), daemon=True).start()
    sys.argv = sys.argv[2:]
    sys.path[0] = os.getcwd()
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main()
