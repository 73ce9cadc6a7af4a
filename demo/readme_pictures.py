"""Make the README's pictures with Edit Image in a real ComfyUI: docs/edit.webp, one edit that moves, and docs/grid.jpg, six edits.

Either name (`edit`, `grid`) as an argument makes only that one.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from prompt_words import draw_words
from still_life import PHOTOS, photo
from template_runs import Run, make_server, pictures, prompt_of, workflow_of

from batch.api import ComfyError
from batch.server import ComfyServer

DOCS = Path(__file__).resolve().parent.parent / "docs"
TEMPLATE = "1 Edit a photo"
RESULT = "Edited photo"
SIDE = 512

MOVING = Run(TEMPLATE, "cone", PHOTOS["cone"].before.replace("blue", "red"), side=SIDE)
GRID: Mapping[str, Run] = {
    "blue to red": MOVING,
    "spotted to striped, in a mask": Run(TEMPLATE, "cone", side=SIDE, painted=True),
    "green to blue": Run(TEMPLATE, "two cylinders", PHOTOS["two cylinders"].before.replace("green", "blue"), side=SIDE),
    "red to purple, in a mask": Run(
        TEMPLATE, "ball", PHOTOS["ball"].before.replace("red", "purple"), side=SIDE, painted=True
    ),
    "removed, in a mask": Run(TEMPLATE, "two cylinders", side=SIDE, painted=True),
    "red to blue, in a mask": Run(
        TEMPLATE, "red cylinder", PHOTOS["red cylinder"].before.replace("red", "blue"), side=SIDE, painted=True
    ),
}
"""Kind -> the edit, in reading order."""
COLUMNS = 3

MOST_BYTES = {"edit": 300_000, "grid": 250_000}
QUALITIES = (90, 85, 80, 75, 70, 65, 60, 50, 40)
INK, LINE = "#333333", "white"
WORDS = 48
"""The height of a line of words below a picture."""
STEPS = 14
"""Frames in which the border between before and after crosses the picture."""
HELD, MOVED = 1500, 50
"""Milliseconds for which a frame is shown."""


# --- one edit that moves ---


def moving(before: Image.Image, after: Image.Image, run: Run) -> tuple[list[Image.Image], list[int]]:
    """(frames, milliseconds): before, the edit from the left to the right, after, and back."""
    shares = [_eased(step / (STEPS + 1)) for step in range(STEPS + 2)]
    shares += shares[-2:0:-1]
    frames = [_frame(before, after, share, run.words) for share in shares]
    return frames, [HELD if share in (0, 1) else MOVED for share in shares]


def _frame(before: Image.Image, after: Image.Image, share: float, words: tuple[str, str]) -> Image.Image:
    """The edit as far as `share` of the width, and below it what the larger part shows."""
    edge = round(share * SIDE)
    frame = Image.new("RGB", (SIDE, SIDE + WORDS), "white")
    frame.paste(before, (0, 0))
    frame.paste(after.crop((0, 0, edge, SIDE)), (0, 0))
    draw = ImageDraw.Draw(frame)
    if 0 < edge < SIDE:
        draw.line((edge, 0, edge, SIDE - 1), fill=LINE, width=3)
    shown = int(share > 0.5)
    draw_words(draw, (SIDE / 2, SIDE + WORDS / 2), words[shown], words[1 - shown], SIDE - 16)
    return frame


def _eased(share: float) -> float:
    """Slow at both ends (smoothstep)."""
    return share * share * (3 - 2 * share)


def webp(frames: list[Image.Image], milliseconds: list[int], texts: Mapping[str, object]) -> bytes:
    """The animation, which carries the graph as ComfyUI's own animations do, so that dropping it on ComfyUI opens it."""
    exif = Image.Exif()
    for tag, (name, graph) in zip((0x0110, 0x010F), texts.items(), strict=True):
        exif[tag] = f"{name}:{json.dumps(graph, separators=(',', ':'))}"
    settings = {"save_all": True, "append_images": frames[1:], "duration": milliseconds, "loop": 0, "method": 6}
    return smallest(frames[0], "WEBP", MOST_BYTES["edit"], **settings, exif=exif)


def smallest(picture: Image.Image, kind: str, most: int, **settings: object) -> bytes:
    """The file at the best quality that is small enough. Raises ValueError if none is."""
    for quality in QUALITIES:
        file = io.BytesIO()
        picture.save(file, kind, quality=quality, **settings)
        if len(file.getvalue()) <= most:
            return file.getvalue()
    raise ValueError(f"the picture takes more than {most} bytes at quality {QUALITIES[-1]}")


# --- six edits ---


def grid(pairs: Mapping[str, tuple[Image.Image, Image.Image]], side: int = 256, gap: int = 16) -> Image.Image:
    """Before and after side by side, the kind of the edit below, in rows of three."""
    width, height = 2 * side + 2, side + 30
    rows = -(-len(pairs) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * (width + gap) - gap, rows * (height + gap) - gap), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=22)
    for index, (kind, pair) in enumerate(pairs.items()):
        x, y = index % COLUMNS * (width + gap), index // COLUMNS * (height + gap)
        for picture, left in zip(pair, (x, x + side + 2), strict=True):
            sheet.paste(picture.resize((side, side), Image.Resampling.LANCZOS), (left, y))
        draw.text((x + width / 2, y + side + 4), kind, fill=INK, font=font, anchor="ma")
    return sheet


# --- both ---


def make_edit(server: ComfyServer) -> bytes:
    """docs/edit.webp."""
    prompt = prompt_of(server, MOVING)
    (after, *_) = pictures(server, prompt)[RESULT]
    frames, milliseconds = moving(Image.fromarray(photo(MOVING.photo, SIDE)), after, MOVING)
    carried = {"prompt": prompt, "workflow": workflow_of(server, TEMPLATE, prompt)}
    return webp(frames, milliseconds, carried)


def make_grid(server: ComfyServer) -> bytes:
    """docs/grid.jpg."""
    pairs = {}
    for kind, run in GRID.items():
        started = time.monotonic()
        (after, *_) = pictures(server, prompt_of(server, run))[RESULT]
        pairs[kind] = Image.fromarray(photo(run.photo, SIDE)), after
        print(f"  {kind}: {time.monotonic() - started:.0f} s", flush=True)
    return smallest(grid(pairs), "JPEG", MOST_BYTES["grid"], optimize=True)


FILES = {"edit": ("edit.webp", make_edit), "grid": ("grid.jpg", make_grid)}


def main() -> int:
    """Make the pictures and return the exit status."""
    parser = argparse.ArgumentParser(prog="dev.py pictures readme", description=__doc__, allow_abbrev=False)
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: both")
    names = parser.parse_args().names or list(FILES)
    if unknown := sorted(set(names) - set(FILES)):
        parser.error(f"no picture {', '.join(unknown)}")
    try:
        with make_server() as server:
            for name in names:
                file, make = FILES[name]
                content = make(server)
                (DOCS / file).write_bytes(content)
                print(f"docs/{file}: {len(content) / 1000:.0f} kB", flush=True)
    except ComfyError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
