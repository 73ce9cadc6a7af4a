"""The help pages' pictures: each has a graph, which its file carries as ComfyUI's frontend reads it."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from carried_graph import MOST_BYTES, needed, numbered, webp
from drawn_pictures import DRAWN
from picture_graphs import PICTURES
from PIL import Image

DOCS = Path(__file__).resolve().parent.parent.parent / "web" / "docs"
GRAPH = {
    "photo": {"class_type": "LoadImage", "inputs": {"image": "ball.png"}},
    "idle": {"class_type": "VAEEncode", "inputs": {"pixels": ["photo", 0]}},
    "large": {"class_type": "ImageScale", "inputs": {"image": ["photo", 0], "width": 512}},
    "show large": {"class_type": "PreviewImage", "inputs": {"images": ["large", 0]}},
}


def test_every_page_has_a_picture_to_make():
    named = [picture.node_id for picture in (*DRAWN, *PICTURES)]
    assert sorted(named) == sorted(path.stem for path in DOCS.glob("*.md"))


@pytest.mark.parametrize("picture", (*DRAWN, *PICTURES), ids=lambda picture: picture.node_id)
def test_a_picture_s_graph_has_its_node_and_no_loose_end(picture):
    graph = getattr(picture, "example", None) or picture.graph
    links = [value for node in graph.values() for value in node["inputs"].values() if isinstance(value, list)]
    assert picture.node_id in {node["class_type"] for node in graph.values()}
    assert {origin for origin, _ in links} <= set(graph)


def test_only_what_leads_to_the_results_is_carried():
    assert list(needed(GRAPH, ["show large"])) == ["photo", "large", "show large"]


def test_a_graph_is_numbered_as_the_frontend_does():
    assert numbered(needed(GRAPH, ["show large"])) == {
        "1": {"class_type": "LoadImage", "inputs": {"image": "ball.png"}},
        "2": {"class_type": "ImageScale", "inputs": {"image": ["1", 0], "width": 512}},
        "3": {"class_type": "PreviewImage", "inputs": {"images": ["2", 0]}, "_meta": {"title": "large"}},
    }


def test_a_file_carries_its_graph_and_stays_small():
    noise = np.random.default_rng(0).integers(0, 256, (300, 640, 3), np.uint8)
    file = webp(Image.fromarray(noise).resize((640, 234)), GRAPH)
    with Image.open(io.BytesIO(file)) as picture:
        assert picture.format == "WEBP" and picture.getexif()[0x0110] == f"prompt:{compact(numbered(GRAPH))}"
    assert len(file) <= 1.5 * MOST_BYTES < 3 * len(webp(Image.fromarray(noise[::2, ::2]), GRAPH))


def compact(graph: dict) -> str:
    return json.dumps(graph, separators=(",", ":"))
