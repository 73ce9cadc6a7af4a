"""Which ComfyUI versions the pack runs on: the table in docs/measured.md.

    python dev.py --comfyui VERSION setup     once for each version: fetches its tree
    python dev.py bench versions [--steps 10]

Each tree in .dev/ is started with the pack and the miniatures. A version is supported if it lists every node, if the main
template inverts and reconstructs a picture in it, and if its pictures match those of the newest version.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
from _host import JOINED, LOADER, ROOT
from PIL import Image
from tiny_models import photos

sys.path.insert(0, str(ROOT / "demo"))

import batch_package  # noqa: F401  (for `batch`)

from batch.api import ComfyError
from batch.server import ComfyServer

SAMPLERS = ("Invert", "Rebuild", "Edit under the target prompt", "Img2img at the same start step")


def trees() -> dict[str, Path]:
    """Version -> the tree that dev.py has fetched, newest first."""
    found = {path.name.removeprefix("ComfyUI-"): path for path in (ROOT / ".dev").glob("ComfyUI-*.*.*")}
    return {version: found[version] for version in sorted(found, key=lambda v: [*map(int, v.split("."))], reverse=True)}


def main_prompt(steps: int) -> dict[str, Any]:
    """The main template's graph in API format, on the miniature, with fewer steps."""
    prompt = json.loads((ROOT / "tests" / "server" / "prompts" / "edit.json").read_text(encoding="utf-8"))
    for node in prompt.values():
        if node["_meta"]["title"] in SAMPLERS:
            node["inputs"]["steps"] = steps
        if node["_meta"]["title"] == "Start step":
            node["inputs"]["value"] = round(node["inputs"]["value"] * steps / 50)
    return prompt


def titled(prompt: dict[str, Any], title: str) -> str:
    return next(node for node, content in prompt.items() if content["_meta"]["title"] == title)


def try_version(tree: Path, steps: int) -> tuple[int, str, np.ndarray]:
    """Start one version; returns how many nodes it lists, the reconstruction's PSNR, and the edited picture."""
    packs = {"retrace": ROOT, "tiny_models": LOADER}
    with ComfyServer(tree, custom_nodes=packs, models={"checkpoints": JOINED}, start_timeout=900) as server:
        photos.write(server.base / "input", ["ball"])
        nodes = [node for node in server.get("/object_info") if node.startswith("Retrace")]
        prompt = main_prompt(steps)
        result = server.run(prompt, timeout=3600)
        told = result.outputs[titled(prompt, "Reconstruction against the VAE round trip")]["text"][0]
        (png,) = server.images(result, titled(prompt, "Edit"))
    psnr = re.search(r"PSNR (\S+) dB", told)
    return len(nodes), psnr[1] if psnr else told, np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), np.int16)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("versions", nargs="*", help="only these, compared with the first; default: all")
    options = parser.parse_args()
    print("| ComfyUI | nodes listed | main template, reconstruction | edit, largest difference to the first row |")
    print("| --- | --- | --- | --- |")
    reference, status = None, 0
    for version in options.versions or trees():
        try:
            nodes, psnr, edit = try_version(trees()[version], options.steps)
        except ComfyError as error:
            print(f"| {version} | fails: {str(error).splitlines()[0]} | | |", flush=True)
            status = 1
            continue
        reference = edit if reference is None else reference
        difference = int(np.abs(edit - reference).max())
        print(f"| {version} | {nodes} | {psnr} dB | {difference} of 255 |", flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
