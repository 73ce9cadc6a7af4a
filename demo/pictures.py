"""Make the pictures of the help pages: every node's own output in a real ComfyUI, from still lifes and the trained miniature.

They are written to web/docs/pictures/<node_id>.webp. Node ids as arguments make only those.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import batch_package  # noqa: F401  (for `batch`)
from carried_graph import needed, webp
from contact_sheet import labelled_rows
from drawn_pictures import DRAWN, Drawn
from picture_graphs import PICTURES
from picture_parts import VAE, Graph, Picture, Shown, node
from PIL import Image
from still_life import write

from batch.api import ComfyError
from batch.server import ComfyServer

ROOT = Path(__file__).resolve().parent.parent
LOADER = ROOT / "tests" / "tiny_models" / "loader"
CHECKPOINT = ROOT / ".dev" / "miniatures" / "tiny_sd15.safetensors"
FOLDER = ROOT / "web" / "docs" / "pictures"


def chosen() -> Sequence[Picture | Drawn]:
    """The pictures that were asked for on the command line."""
    parser = argparse.ArgumentParser(prog="dev.py pictures", description=__doc__, allow_abbrev=False)
    known = {picture.node_id: picture for picture in (*DRAWN, *PICTURES)}
    parser.add_argument("node_ids", nargs="*", metavar="NODE_ID", help="default: all of them")
    wanted = parser.parse_args().node_ids or list(known)
    if unknown := sorted(set(wanted) - set(known)):
        parser.error(f"no picture of {', '.join(unknown)}")
    return [known[node_id] for node_id in wanted]


def preview(shown: Shown) -> Graph:
    """The nodes that turn an output of the graph into an image to fetch; the last one is called by the label."""
    if shown.kind == "IMAGE":
        return {f"show {shown.label}": node("PreviewImage", images=shown.output)}
    as_image = {
        "MASK": node("MaskToImage", mask=shown.output),
        "LATENT": node("VAEDecode", samples=shown.output, vae=VAE),
    }[shown.kind]
    image = f"image {shown.label}"
    return {image: as_image, f"show {shown.label}": node("PreviewImage", images=[image, 0])}


def made(server: ComfyServer, picture: Picture) -> bytes:
    """Run the graph, lay out its results, and return the file."""
    if picture.first:
        server.run(picture.first, timeout=3600)
    graph = dict(picture.graph)
    for shown in picture.shown:
        graph |= preview(shown)
    graph = needed(graph, [f"show {shown.label}" for shown in picture.shown])
    result = server.run(graph, timeout=3600)
    images = {}
    for shown in picture.shown:
        # ComfyUI skips an output whose inputs are invalid, and runs the others.
        pngs = server.images(result, f"show {shown.label}")
        if not pngs:
            raise ComfyError(f"{picture.node_id}: there is no picture {shown.label!r}; the server's log says why.")
        images[shown.label] = Image.open(io.BytesIO(pngs[0])).convert("RGB")
    return webp(labelled_rows(images), picture.example or graph)


def save(picture: Picture | Drawn, file: bytes, started: float) -> None:
    """Write the picture's file, and say how long it took."""
    (FOLDER / f"{picture.node_id}.webp").write_bytes(file)
    print(f"{picture.node_id}: {time.monotonic() - started:.0f} s, {len(file) / 1000:.0f} kB", flush=True)


def main() -> int:
    """Make the pictures and return the exit status."""
    pictures = chosen()
    FOLDER.mkdir(exist_ok=True)
    for picture in pictures:
        if isinstance(picture, Drawn):
            started = time.monotonic()
            save(picture, webp(labelled_rows(picture.images()), picture.graph), started)
    graphs = [picture for picture in pictures if isinstance(picture, Picture)]
    if not graphs:
        return 0
    server = ComfyServer(
        Path(os.environ["COMFYUI_PATH"]),
        custom_nodes={"retrace": ROOT, "tiny_models": LOADER},
        models={f"checkpoints/{CHECKPOINT.name}": CHECKPOINT},
        arguments=("--cache-lru", "64"),
    )
    try:
        with server:
            write(server.base / "input")
            for picture in graphs:
                started = time.monotonic()
                save(picture, made(server, picture), started)
    except ComfyError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
