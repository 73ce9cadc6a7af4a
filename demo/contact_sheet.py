"""Several pictures side by side, each with its name above and a caption below."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

_MARGIN = 16
_BACKGROUND, _INK, _FAINT = "white", "black", "#555555"


@dataclass(frozen=True)
class Tile:
    """One picture (encoded, as ComfyUI serves it) with its texts."""

    png: bytes
    name: str
    caption: str = ""


def contact_sheet(tiles: Sequence[Tile], least_side: int = 320, most_side: int = 768) -> Image.Image:
    """Lay the tiles out in a row. Small pictures are enlarged by whole factors, so that their pixels stay pixels."""
    pictures = [scaled(Image.open(io.BytesIO(tile.png)).convert("RGB"), least_side, most_side) for tile in tiles]
    column = max(picture.width for picture in pictures)
    tallest = max(picture.height for picture in pictures)
    name_font, caption_font = ImageFont.load_default(size=22), ImageFont.load_default(size=15)
    characters = max(1, int(column / caption_font.getlength("n")))
    captions = ["\n".join(textwrap.wrap(tile.caption, characters)) for tile in tiles]
    caption_height = 20 * max(caption.count("\n") + 1 for caption in captions) if any(captions) else 0
    header = 2 * _MARGIN + 16
    size = (_MARGIN + len(tiles) * (column + _MARGIN), header + tallest + _MARGIN + caption_height)
    sheet = Image.new("RGB", size, _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    for index, (tile, picture, caption) in enumerate(zip(tiles, pictures, captions, strict=True)):
        x = _MARGIN + index * (column + _MARGIN)
        draw.text((x, _MARGIN // 2), tile.name, fill=_INK, font=name_font)
        sheet.paste(picture, (x, header))
        draw.multiline_text((x, header + tallest + _MARGIN // 2), caption, fill=_FAINT, font=caption_font)
    return sheet


def scaled(picture: Image.Image, least_side: int, most_side: int) -> Image.Image:
    """Enlarge a picture that is too small to look at, shrink one that is too large to show three of."""
    longest = max(picture.size)
    if longest < least_side:
        factor = -(-least_side // longest)
        return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
    picture.thumbnail((most_side, most_side), Image.Resampling.LANCZOS)
    return picture
