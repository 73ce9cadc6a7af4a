"""Run a ComfyUI with this pack, the miniature models and photos for them, to click in, until Ctrl-C."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from pathlib import Path

import batch_package  # noqa: F401  (for `batch`)
from still_life import PHOTOS, write

from batch.api import ComfyError
from batch.server import ComfyServer

ROOT = Path(__file__).resolve().parent.parent
BASE = ROOT / ".dev" / "serve"
WEIGHTS = ROOT / "tests" / "tiny_models" / "weights"


def main() -> int:
    """Serve and return the exit status."""
    parser = argparse.ArgumentParser(prog="dev.py serve", description=__doc__, allow_abbrev=False)
    parser.add_argument("--port", type=int, default=8188, help="loopback port, 0 for any free one (default: 8188)")
    options, arguments = parser.parse_known_args()
    server = ComfyServer(
        Path(os.environ["COMFYUI_PATH"]),
        custom_nodes={"retrace": ROOT, "tiny_models": ROOT / "tests" / "tiny_models" / "loader"},
        models={
            "checkpoints": ROOT / ".dev" / "miniatures",
            "controlnet/tiny_controlnet.safetensors": WEIGHTS / "tiny_controlnet.safetensors",
            "loras/tiny_lora.safetensors": WEIGHTS / "tiny_lora.safetensors",
        },
        arguments=arguments,
        port=options.port,
        directory=BASE,
        show_log=True,
    )
    write(BASE / "input")
    try:
        with contextlib.suppress(KeyboardInterrupt), server:
            photos = "\n".join(f"  {name}.png: {edit.before}" for name, edit in PHOTOS.items())
            print(f"\nRetrace is served at {server.url} ; Ctrl-C ends it.\n", flush=True)
            print(f"Photos in its input folder, for the checkpoint tiny_sd15.safetensors:\n{photos}\n", flush=True)
            server.process.wait()
    except ComfyError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
