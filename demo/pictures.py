"""Make the pictures of the help pages: every node's own output in a real ComfyUI, from the shipped image and miniature.

They are written to web/docs/pictures/<node_id>.jpg. Node ids as arguments make only those.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import batch_package  # noqa: F401  (for `batch`)
from contact_sheet import labelled_rows
from hint_pictures import DEPTH_MODEL
from picture_graphs import PICTURES
from picture_parts import VAE, Graph, Picture, Shown, node
from PIL import Image

from batch.api import ComfyError
from batch.server import ComfyServer

ROOT = Path(__file__).resolve().parent.parent
MINIATURE = ROOT / "tests" / "tiny_sd"
FOLDER = ROOT / "web" / "docs" / "pictures"
MOST_BYTES = 30_000
QUALITIES = (88, 80, 70, 60, 50)


def chosen() -> Sequence[Picture]:
    """The pictures that were asked for on the command line."""
    parser = argparse.ArgumentParser(prog="dev.py pictures", description=__doc__, allow_abbrev=False)
    known = [picture.node_id for picture in PICTURES]
    parser.add_argument("node_ids", nargs="*", metavar="NODE_ID", help="default: all of them")
    wanted = parser.parse_args().node_ids or known
    if unknown := sorted(set(wanted) - set(known)):
        parser.error(f"no picture of {', '.join(unknown)}")
    return [picture for picture in PICTURES if picture.node_id in wanted]


def preview(shown: Shown) -> Graph:
    """The nodes that turn an output of the graph into an image to fetch; the last one's id contains the label."""
    if shown.kind == "IMAGE":
        return {f"show {shown.label}": node("PreviewImage", images=shown.output)}
    as_image = {
        "MASK": node("MaskToImage", mask=shown.output),
        "LATENT": node("VAEDecode", samples=shown.output, vae=VAE),
    }[shown.kind]
    image = f"image {shown.label}"
    return {image: as_image, f"show {shown.label}": node("PreviewImage", images=[image, 0])}


def draw(server: ComfyServer, picture: Picture) -> Image.Image:
    """Run the graph and lay out its results."""
    graph = dict(picture.graph)
    for shown in picture.shown:
        graph |= preview(shown)
    result = server.run(graph, timeout=3600)
    images = {}
    for shown in picture.shown:
        # ComfyUI skips an output whose inputs are invalid, and runs the others.
        pngs = server.images(result, f"show {shown.label}")
        if not pngs:
            raise ComfyError(f"{picture.node_id}: there is no picture {shown.label!r}; the server's log says why.")
        images[shown.label] = Image.open(io.BytesIO(pngs[0])).convert("RGB")
    return labelled_rows(images)


def jpeg(picture: Image.Image) -> bytes:
    """The picture at the best quality that is small enough: JPEG spends most of its bytes on decoded noise."""
    encoded = b""
    for quality in QUALITIES:
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=quality, optimize=True)
        encoded = file.getvalue()
        if len(encoded) <= MOST_BYTES:
            break
    return encoded


def make_server(folder: Path, pictures: Sequence[Picture]) -> ComfyServer:
    """A ComfyUI with the miniature and, created in `folder`, a checkpoint with the depth layout and a depth estimator."""
    subprocess.run([sys.executable, MINIATURE / "layout_files.py", folder], check=True)
    files = (MINIATURE / "tiny_sd15.safetensors", folder / "checkpoints" / "tiny_depth.safetensors")
    models = {f"checkpoints/{file.name}": file for file in files}
    if any(picture.node_id == "RetraceEstimateDepth" for picture in pictures):  # minutes, for one picture
        subprocess.run([sys.executable, MINIATURE / "train_depth.py", folder / DEPTH_MODEL], check=True)
        models[f"transformers/{DEPTH_MODEL}"] = folder / DEPTH_MODEL
    packs = {"retrace": ROOT, "tiny_sd": MINIATURE, "depth_lens": ROOT / "demo" / "depth_lens"}
    return ComfyServer(Path(os.environ["COMFYUI_PATH"]), packs, models, arguments=("--cache-lru", "64"))


def main() -> int:
    """Make the pictures and return the exit status."""
    pictures = chosen()
    FOLDER.mkdir(exist_ok=True)
    try:
        with ExitStack() as resources:
            folder = Path(resources.enter_context(tempfile.TemporaryDirectory()))
            server = resources.enter_context(make_server(folder, pictures))
            for name in ("demo.png", "demo_mask.png"):
                shutil.copy(MINIATURE / name, server.base / "input" / name)
            for picture in pictures:
                (FOLDER / f"{picture.node_id}.jpg").write_bytes(jpeg(draw(server, picture)))
                print(picture.node_id, flush=True)
    except ComfyError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
