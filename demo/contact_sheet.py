"""Images side by side, each with its name above and a caption below."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

_MARGIN = 16
_BACKGROUND, _INK, _FAINT = "white", "black", "#555555"


@dataclass(frozen=True)
class Tile:
    """An image (encoded, as ComfyUI serves it) with its texts."""

    png: bytes
    name: str
    caption: str = ""


def contact_sheet(tiles: Sequence[Tile], least_side: int = 320, most_side: int = 768) -> Image.Image:
    """Lay out the tiles in a row. Small images are enlarged by integer factors, so that their pixels remain visible as squares."""
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
    """Enlarge an image that is too small to see, and shrink one that is too large to show three side by side."""
    longest = max(picture.size)
    if longest < least_side:
        factor = -(-least_side // longest)
        return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
    picture.thumbnail((most_side, most_side), Image.Resampling.LANCZOS)
    return picture


def labelled_rows(pictures: Mapping[str, Image.Image]) -> Image.Image:
    """Images side by side, each with its label below; one that is much wider than tall gets its own row."""
    wide = {label: picture for label, picture in pictures.items() if picture.width > 1.5 * picture.height}
    rest = {label: picture for label, picture in pictures.items() if label not in wide}
    rows = [labelled_row({label: picture}) for label, picture in wide.items()] + ([labelled_row(rest)] if rest else [])
    stacked = Image.new("RGB", (max(row.width for row in rows), sum(row.height for row in rows)), _BACKGROUND)
    y = 0
    for row in rows:
        stacked.paste(row, (0, y))
        y += row.height
    return stacked


def labelled_row(pictures: Mapping[str, Image.Image], width: int = 640, gap: int = 8) -> Image.Image:
    """Images of equal height side by side, at most `width` wide in total; small ones are enlarged at most twice."""
    room = width - gap * (len(pictures) - 1)
    shapes = sum(picture.width / picture.height for picture in pictures.values())
    tallest = max(picture.height for picture in pictures.values())
    height = min(tallest if tallest > 128 else 2 * tallest, int(room / shapes))
    cells = {label: enlarged(picture, height) for label, picture in pictures.items()}
    font = ImageFont.load_default(size=17)
    size = (sum(cell.width + gap for cell in cells.values()) - gap, height + (26 if any(cells) else 0))
    row = Image.new("RGB", size, _BACKGROUND)
    draw, x = ImageDraw.Draw(row), 0
    for label, cell in cells.items():
        row.paste(cell, (x, 0))
        draw.text((x + cell.width / 2, height + 4), label, fill=_INK, font=font, anchor="ma")
        x += cell.width + gap
    return row


def enlarged(picture: Image.Image, height: int) -> Image.Image:
    """The image at this height; one of latent size keeps its pixels as squares, because they are the point."""
    size = (max(1, round(picture.width * height / picture.height)), height)
    small = picture.height <= 32
    return picture.resize(size, Image.Resampling.NEAREST if small else Image.Resampling.LANCZOS)
