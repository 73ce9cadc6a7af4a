"""Run a ComfyUI with this pack and the miniature models, to click in, until Ctrl-C."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from pathlib import Path

import batch_package  # noqa: F401  (for `batch`)

from batch.api import ComfyError
from batch.server import ComfyServer

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Serve and return the exit status."""
    parser = argparse.ArgumentParser(prog="dev.py serve", description=__doc__, allow_abbrev=False)
    parser.add_argument("--port", type=int, default=8188, help="loopback port, 0 for any free one (default: 8188)")
    options, arguments = parser.parse_known_args()
    server = ComfyServer(
        Path(os.environ["COMFYUI_PATH"]),
        custom_nodes={"retrace": ROOT, "tiny_sd": ROOT / "tests" / "tiny_sd"},
        models={"checkpoints": ROOT / "tests" / "tiny_sd"},
        arguments=arguments,
        port=options.port,
        directory=ROOT / ".dev" / "serve",
        show_log=True,
    )
    try:
        with contextlib.suppress(KeyboardInterrupt), server:
            print(f"\nRetrace is served at {server.url} ; Ctrl-C ends it.\n", flush=True)
            server.process.wait()
    except ComfyError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
