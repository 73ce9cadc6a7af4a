"""Runs ComfyUI's main.py, and ends it when the process that started it is gone, however that one ended.

    python launcher.py BASE main.py [arguments]

The starter holds the other end of standard input and never writes to it. A killed starter closes it: then the folder
BASE, where it is not empty text, is removed with this process, so that nothing stays behind.
"""

import os
import runpy
import shutil
import signal
import sys
import threading


def end_with_starter(base: str) -> None:
    """Wait until standard input ends, then end the process at once."""
    while os.read(0, 1024):
        pass
    if base:
        shutil.rmtree(base, ignore_errors=True)
    os._exit(1)


def main() -> None:
    """Run the script as `python main.py` would in the current folder."""
    base, script = sys.argv[1:3]
    # Ctrl-C reaches the whole group of the terminal: what becomes of ComfyUI then is its starter's affair.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with_starter, args=(base,), daemon=True).start()
    sys.argv = sys.argv[2:]
    sys.path[0] = os.getcwd()
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main()
