"""Write the checkpoints whose parts are all stored, in the order of their names, to a folder: `join.py FOLDER`.

`COMFYUI_PATH` is the ComfyUI tree to use. dev.py calls this when the parts have changed.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), os.environ["COMFYUI_PATH"]]

import torch  # noqa: E402
from comfy.cli_args import args as comfy_arguments  # noqa: E402

comfy_arguments.cpu = not torch.cuda.is_available()  # before ComfyUI looks for a device

from safetensors.torch import save_file  # noqa: E402

from tiny_models import stored  # noqa: E402


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name in stored.complete(HERE / "weights"):
        unfinished = folder / f"{name}.part"
        save_file(stored.join(HERE / "weights", name), unfinished)
        unfinished.replace(folder / f"{name}.safetensors")


if __name__ == "__main__":
    main()
