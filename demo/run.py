"""Invert, reconstruct and edit an image in a real ComfyUI, and show the results.

Without options: a still life and the shipped miniature model; img2img then changes the same still life, so that the two can be
compared. With --checkpoint and --image: your own Stable Diffusion 1.x, 2.x or SDXL checkpoint and photo. The pictures are
written to demo-output/ in the current folder.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import against_img2img
import batch_package  # noqa: F401  (for `batch`)
from api_graph import EditablePrompt, fill_in, nodes, remove_with_dependents, title
from contact_sheet import Tile, contact_sheet
from photo import fitted_size, native_side, save_fitted
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from progress import Progress
from still_life import PHOTOS, write

from batch.api import ComfyError, Prompt, Result
from batch.server import ComfyServer
from batch.stored_graph import filled_in

ROOT = Path(__file__).resolve().parent.parent
MINIATURES = ROOT / ".dev" / "miniatures"
LOADER = ROOT / "tests" / "tiny_models" / "loader"
WORKFLOW = ROOT / "tests" / "server" / "prompts" / "edit.json"
TEMPLATE = ROOT / "workflows" / "7 Invert, rebuild, edit.json"
IMAGE_TITLES = ("Source", "Reconstruction", "Edit", "Img2img")
SIDE = 256
"""What the miniature was trained on."""


def parse_arguments() -> argparse.Namespace:
    """The options of `dev.py demo`."""
    parser = argparse.ArgumentParser(prog="dev.py demo", description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "--checkpoint", type=Path, metavar="FILE", help="a checkpoint of Stable Diffusion 1.x, 2.x or SDXL"
    )
    parser.add_argument("--image", type=Path, metavar="FILE", help="the photo to edit")
    parser.add_argument("--source", metavar="TEXT", help="what the image shows")
    parser.add_argument("--target", metavar="TEXT", help="what it should show instead")
    parser.add_argument(
        "--mask", type=Path, metavar="FILE", help="white where the photo may change; the metrics cover the rest"
    )
    parser.add_argument("--size", type=int, metavar="PIXELS", help="side of the square that the photo is resized to")
    parser.add_argument("--output", type=Path, default=Path("demo-output"), metavar="FOLDER")
    parser.add_argument(
        "--workflow", type=Path, default=WORKFLOW, metavar="FILE", help="a different workflow (API format)"
    )
    options = parser.parse_args()
    for option in ("checkpoint", "image", "mask", "workflow"):
        path = getattr(options, option)
        if path is not None and not path.is_file():
            parser.error(f"--{option}: there is no file {path}")
    return options


def edited_prompt(options: argparse.Namespace) -> EditablePrompt:
    """The workflow with the file names and texts of the command line."""
    prompt: EditablePrompt = json.loads(options.workflow.read_text(encoding="utf-8"))
    if options.checkpoint:
        fill_in(prompt, nodes(prompt, class_type="CheckpointLoaderSimple"), "ckpt_name", options.checkpoint.name)
    if options.source is not None:
        fill_in(prompt, nodes(prompt, titled="Source prompt"), "value", options.source)
    if options.target is not None:
        fill_in(prompt, nodes(prompt, titled="Target prompt"), "value", options.target)
    return prompt


def make_server(options: argparse.Namespace) -> ComfyServer:
    """A ComfyUI with this pack and either the miniature model or the user's own."""
    custom_nodes = {"retrace": ROOT}
    if options.checkpoint:
        models = {f"checkpoints/{options.checkpoint.name}": options.checkpoint}
    else:
        custom_nodes["tiny_models"] = LOADER
        models = {"checkpoints": MINIATURES}
    return ComfyServer(Path(os.environ["COMFYUI_PATH"]), custom_nodes, models)


def place_images(prompt: EditablePrompt, options: argparse.Namespace, folder: Path) -> None:
    """Put the photo and its mask into the server's input folder, at the model's resolution.

    For a photo without a mask, the nodes that measure within a mask are removed.
    """
    side = options.size or (native_side(options.checkpoint) if options.checkpoint else SIDE)
    shipped = options.image is None
    if shipped:
        side, _ = fitted_size(side, side, side)
        loaded = {prompt[node_id]["inputs"]["image"] for node_id in nodes(prompt, class_type="LoadImage")}
        write(folder, [name for name in PHOTOS if f"{name}.png" in loaded], side)
    for node_id in nodes(prompt, class_type="LoadImage"):
        source = options.image or folder / prompt[node_id]["inputs"]["image"]
        width, height = place_image(prompt, node_id, source, folder, side)
        resize = nodes(prompt, class_type="ImageScaleToTotalPixels")
        fill_in(prompt, resize, "megapixels", width * height / 1024**2)
    for node_id in nodes(prompt, class_type="LoadImageMask"):
        source = options.mask or (folder / prompt[node_id]["inputs"]["image"] if shipped else None)
        if source is None:
            remove_with_dependents(prompt, node_id)
        else:
            place_image(prompt, node_id, source, folder, side)
    if is_shipped_edit(options):
        against_img2img.add_truth(prompt, folder, side)


def is_shipped_edit(options: argparse.Namespace) -> bool:
    """Whether it is known what the edit should show."""
    return options.workflow == WORKFLOW and options.image is options.source is options.target is None


def place_image(prompt: EditablePrompt, node_id: str, source: Path, folder: Path, side: int) -> tuple[int, int]:
    """Put one node's image into the server's input folder; returns its size there."""
    name = f"{node_id}-{source.stem}.png"
    fill_in(prompt, [node_id], "image", name)
    return save_fitted(source, folder / name, side)


def texts(prompt: Prompt, result: Result) -> Iterator[tuple[str, str]]:
    """The text outputs of the nodes: (title, line) for each line, in the workflow's order."""
    for node_id, node in prompt.items():
        found = result.outputs.get(node_id, {}).get("text", [])
        for text in [found] if isinstance(found, str) else found:
            yield from ((title(node), line) for line in str(text).splitlines() if line.strip())


def collect(server: ComfyServer, prompt: Prompt, result: Result) -> dict[str, bytes]:
    """The first image of each node whose title is one of the pictures to show."""
    pictures = {name: server.images(result, node) for name in IMAGE_TITLES for node in nodes(prompt, titled=name)}
    return {name: images[0] for name, images in pictures.items() if images}


def workflow_of(prompt: Prompt, options: argparse.Namespace, server: ComfyServer) -> dict[str, Any] | None:
    """The template as it was run, to embed in the pictures; None for the user's own workflow."""
    if options.workflow != WORKFLOW:
        return None
    return filled_in(json.loads(TEMPLATE.read_text(encoding="utf-8")), prompt, server.get("/object_info"))


def carried(png: bytes) -> PngInfo:
    """The graph that ComfyUI embedded in an image it saved, for embedding in another image."""
    info = PngInfo()
    for key, text in Image.open(io.BytesIO(png)).info.items():
        if key in ("prompt", "workflow"):
            info.add_text(key, text)
    return info


def write_pictures(prompt: Prompt, pictures: dict[str, bytes], folder: Path) -> None:
    """Write the pictures one by one and side by side, each with the graph embedded: dropping one onto ComfyUI opens it."""
    folder.mkdir(parents=True, exist_ok=True)
    captions = {"Source": "Source prompt", "Edit": "Target prompt", "Img2img": "Target prompt"}
    tiles = []
    for name, png in pictures.items():
        (folder / f"{name.lower()}.png").write_bytes(png)
        prompts = [prompt[node]["inputs"].get("value") for node in nodes(prompt, titled=captions.get(name, ""))]
        tiles.append(Tile(png, name, next((text for text in prompts if isinstance(text, str)), "")))
    contact_sheet(tiles).save(folder / "side-by-side.png", pnginfo=carried(tiles[0].png))


def print_table(rows: list[tuple[str, str]]) -> None:
    """Print a table of two columns."""
    width = max(len(name) for name, _ in rows)
    print()
    for name, value in rows:
        print(f"  {name:<{width}}  {value}")
    print()


def run(options: argparse.Namespace) -> None:
    """The whole demo."""
    prompt = edited_prompt(options)
    print("starting ComfyUI ...", flush=True)
    with make_server(options) as server:
        device = server.get("/system_stats")["devices"][0]["name"]
        place_images(prompt, options, server.base / "input")
        started = time.monotonic()
        with Progress({node_id: title(node) for node_id, node in prompt.items()}) as progress:
            workflow = workflow_of(prompt, options, server)
            result = server.run(prompt, progress, timeout=24 * 3600, workflow=workflow)
        rows = []
        if is_shipped_edit(options):
            result, colors = against_img2img.at_equal_success(server, prompt, result)
            rows.append((f"Color of the {against_img2img.NAME}", colors))
        rows += [("seconds", f"{time.monotonic() - started:.1f}"), ("device", device)]
        pictures = collect(server, prompt, result)
    if not pictures:
        raise ComfyError(f"The workflow made none of the pictures {', '.join(IMAGE_TITLES)}.")
    write_pictures(prompt, pictures, options.output)
    print_table([*texts(prompt, result), *rows])
    print(f"pictures in {options.output.resolve()}")


def main() -> int:
    """Run the demo and return the exit status."""
    options = parse_arguments()
    try:
        run(options)
    except ComfyError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
