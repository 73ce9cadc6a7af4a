"""Every template is easy to read: groups and a note, no overlaps, no wire behind a node, few crossings."""

import json
import math
import re
from functools import cache
from itertools import combinations, pairwise
from pathlib import Path

import pytest
from litegraph import (
    LINES,
    NOTES,
    REROUTE,
    Graph,
    Stretch,
    Wires,
    curves_cross,
    group_box,
    group_title,
    has_lines,
    lines_height,
    node_box,
    overlap,
    touches,
    within,
    working_nodes,
)
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent.parent
TEMPLATES: dict[str, Graph] = {
    path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted((ROOT / "workflows").glob("*.json"))
}
PHOTO = ("LoadImage", 0)
ANY_SIZE = ("RetraceEditImage", "ImageCompare")
"""What takes a photo as it is: Edit Image gives the result in the photo's own size."""
CHOSEN = (
    "CheckpointLoaderSimple", "UNETLoader", "DualCLIPLoader", "VAELoader", "ControlNetLoader", "LoadImage",
    "PrimitiveStringMultiline", "PrimitiveInt",
)  # fmt: skip
FLUX = "9 Invert and edit, Flux"
WIDEST = 2500
NOTE = 700
"""Characters that are read before a first run."""

# The fewest that a search over the orders of nodes and lanes found. None at all is out of reach: a model and two prompts
# that all go to three samplers are a graph that no plane holds, and slots keep their order: a photo that is encoded
# meets the VAE, which the same checkpoint gives to a decoder farther on.
CROSSINGS = {
    "1 Edit a photo": 3,
    "2 Change one word, keep the rest": 18,
    "3 Inpaint, keep the rest exact": 21,
    "4 New pose or expression": 16,
    "5 New style": 18,
    "6 Rebuild a photo in any sampler": 29,
    "7 Invert, rebuild, edit": 25,
    "8 Many hints, one ControlNet": 6,
    FLUX: 10,
}


@pytest.fixture(params=list(TEMPLATES))
def name(request) -> str:
    return request.param


@pytest.fixture
def graph(name) -> Graph:
    return TEMPLATES[name]


@pytest.fixture
def stretches(name) -> tuple[Stretch, ...]:
    return stretches_of(name)


@cache
def stretches_of(name: str) -> tuple[Stretch, ...]:
    return tuple(Wires(TEMPLATES[name]).stretches())


# --- what a template must be ---


def test_a_note_says_how(graph):
    assert any(node["type"] in NOTES and node["widgets_values"][0].strip() for node in graph["nodes"])


def test_a_node_is_as_tall_as_what_it_shows(graph):
    """The frontend makes a smaller one taller, over what lies below it."""
    assert {
        node["title"]: node["size"][1]
        for node in working_nodes(graph)
        if lines_height(node) < (LINES if any(map(has_lines, node["inputs"])) else 0)
    } == {}


def test_every_node_lies_in_exactly_one_group(graph):
    groups = {group["title"]: group_box(group) for group in graph["groups"]}
    holders = {
        node["title"]: [title for title, box in groups.items() if overlap(node_box(node), box)]
        for node in working_nodes(graph)
    }
    assert {title: held for title, held in holders.items() if len(held) != 1} == {}
    for node in working_nodes(graph):
        (holder,) = holders[node["title"]]
        assert within(node_box(node), groups[holder]), f"{node['title']} looks out of {holder}"


def test_no_two_nodes_and_no_two_groups_overlap(graph):
    nodes = [(node["title"], node_box(node)) for node in graph["nodes"]]
    groups = [(group["title"], group_box(group)) for group in graph["groups"]]
    notes = [(node["title"], node_box(node)) for node in graph["nodes"] if node["type"] in NOTES]
    pairs = [*combinations(nodes, 2), *combinations(groups, 2), *((note, group) for note in notes for group in groups)]
    assert [(a[0], b[0]) for a, b in pairs if overlap(a[1], b[1])] == []


def test_wires_run_from_left_to_right(stretches):
    backwards = [wire for wire in stretches if any(b[0] <= a[0] for a, b in pairwise(wire.curve))]
    assert [(wire.origin, wire.curve[0], wire.curve[-1]) for wire in backwards] == []


def test_no_wire_passes_behind_a_node(graph, stretches):
    behind = [
        (wire.origin, node["title"])
        for node in graph["nodes"]
        for wire in stretches
        if node["id"] not in wire.ends and touches(wire.curve, node_box(node))
    ]
    assert behind == []


def test_no_wire_runs_through_the_title_of_a_group(graph, stretches):
    through = [
        (wire.origin, group["title"])
        for group in graph["groups"]
        for wire in stretches
        if touches(wire.curve, group_title(group))
    ]
    assert through == []


def test_wires_cross_no_more_than_they_must(name, stretches):
    crossings = [
        (a.origin, b.origin)
        for a, b in combinations(stretches, 2)
        if a.origin != b.origin
        for _ in range(curves_cross(a.curve, b.curve))
    ]
    assert len(crossings) <= CROSSINGS.get(name, 0), crossings


def test_reroutes_know_the_links_that_run_through_them(graph):
    """The frontend draws a reroute's angle, and keeps it at all, by the links that it names."""
    wires = Wires(graph)
    through = {each: sorted(link for link in wires.links if each in wires.chain(link)) for each in wires.reroutes}
    assert {each: sorted(reroute["linkIds"]) for each, reroute in wires.reroutes.items()} == through


def test_reroutes_of_different_wires_are_apart(graph):
    origin = {link[0]: (link[1], link[2]) for link in graph["links"]}
    dots = [(origin[each["linkIds"][0]], each["pos"]) for each in graph["extra"].get("reroutes", [])]
    close = [(a, b) for a, b in combinations(dots, 2) if a[0] != b[0] and math.dist(a[1], b[1]) < 2 * REROUTE]
    assert close == []


def test_a_photo_is_resized_first(name, graph):
    """Whatever size and shape a photo has, it is encoded in its own shape, at about the pixels that the model was trained on."""
    types = {node["id"]: node["type"] for node in graph["nodes"]}
    takers = {types[target] for _, origin, output, target, *_ in graph["links"] if (types[origin], output) == PHOTO}
    assert takers - set(ANY_SIZE) <= {"ImageScaleToTotalPixels"}
    for node in graph["nodes"]:
        if node["type"] == "ImageScaleToTotalPixels":
            assert node["widgets_values"][1:] == ([1.0, 16] if name == FLUX else [0.25, 8])


def test_a_template_is_ours_and_no_wider_than_a_screen_shows(graph):
    assert any(node["type"].startswith("Retrace") for node in graph["nodes"])
    boxes = [*map(node_box, graph["nodes"]), *map(group_box, graph["groups"])]
    assert max(box[2] for box in boxes) - min(box[0] for box in boxes) <= WIDEST


def test_what_a_person_chooses_is_one_column_at_the_left_and_the_result_is_at_the_right(graph):
    (inputs,) = (group for group in graph["groups"] if group["title"] == "Inputs")
    chosen = [node for node in working_nodes(graph) if node["type"] in CHOSEN]
    assert {node["pos"][0] for node in chosen} == {inputs["bounding"][0] + 20} == {min(n["pos"][0] for n in chosen)}
    last = max(node["pos"][0] for node in graph["nodes"])
    assert {node["pos"][0] for node in graph["nodes"] if node["type"] in ("ImageCompare", "SaveImage")} == {last}
    assert [node["type"] for node in graph["nodes"]].count("ImageCompare") == 1


def test_the_first_template_opens_as_an_app(name, graph):
    """The frontend silently drops an input of the app whose node or widget is not there."""
    assert graph["extra"].get("linearMode", False) == name.startswith("1 ")
    shown = graph["extra"].get("linearData", {"inputs": [], "outputs": []})
    widgets = {
        (str(node["id"]), slot["name"]) for node in graph["nodes"] for slot in node["inputs"] if "widget" in slot
    }
    assert {tuple(each) for each in shown["inputs"]} <= widgets
    results = {str(node["id"]) for node in graph["nodes"] if node["type"] == "SaveImage"}
    assert set(shown["outputs"]) <= results
    if graph["extra"].get("linearMode"):
        assert [name for _, name in shown["inputs"]] == ["image", "before", "after"] and len(shown["outputs"]) == 1


def test_a_note_is_short_and_says_the_same_in_chinese(graph):
    """The frontend translates no notes, so there are two, the Chinese one collapsed. Inputs have one name in both."""
    english, chinese = (node for node in graph["nodes"] if node["type"] in NOTES)
    assert chinese["flags"] == {"collapsed": True} and english["flags"] == {}
    said, translated = (node["widgets_values"][0] for node in (english, chinese))
    assert len(said) <= NOTE and said.isascii()
    assert (
        min(
            len(re.findall(r"[\u4e00-\u9fff]", text)) - least
            for text, least in ((chinese["title"], 1), (translated, 40))
        )
        > 0
    )
    assert said.count("\n") == translated.count("\n")
    assert set(re.findall(r"\*(\w+_\w+)\*", said)) == set(re.findall(r"\*(\w+_\w+)\*", translated))


def test_a_thumbnail_is_a_small_square(name):
    with Image.open(ROOT / "workflows" / f"{name}.jpg") as picture:
        assert picture.size == (400, 400)
