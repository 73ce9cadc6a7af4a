"""Every template is easy to read: groups and a note, no overlaps, no wire behind a node, few crossings.

Wires are computed as in the frontend: the slots' places, and a Bezier curve from slot to reroute to slot.
"""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

Point = tuple[float, float]
Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""
Graph = dict[str, Any]
Node = dict[str, Any]

ROOT = Path(__file__).resolve().parent.parent.parent
TEMPLATES: dict[str, Graph] = {
    path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted((ROOT / "workflows").glob("*.json"))
}
NOTES = ("MarkdownNote", "Note")
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
MULTILINE = ("text", "value", "prompt", "source_prompt", "target_prompts", "json", "before", "after")
"""Widgets of several lines: they share what height the others leave."""
# LiteGraph's measures in pixels.
TITLE = 30
SLOT = 20
WIDGET = 24
LINES = 58  # a widget of several lines, at least
REROUTE = 10  # a reroute's radius
FARTHEST_CONTROL = 80  # of a curve at a reroute
PIECES = 24  # of a curve, as straight lines

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


@dataclass(frozen=True)
class Stretch:
    """One drawn segment of a wire, from a slot or reroute to the next."""

    origin: tuple[int, int]
    """The node and output that the wire comes from."""
    ends: frozenset[int]
    """The nodes whose slots it touches."""
    curve: tuple[Point, ...]


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


# --- what LiteGraph draws ---


def working_nodes(graph: Graph) -> list[Node]:
    return [node for node in graph["nodes"] if node["type"] not in NOTES]


def first_widget(node: Node) -> int:
    """Where the widgets begin, below the slots of both sides."""
    slots = [slot for slot in node["inputs"] if "widget" not in slot]
    return SLOT * max(len(slots), len(node["outputs"])) + 6


def has_lines(slot: dict[str, Any]) -> bool:
    """Whether it is the input of a widget of several lines."""
    return slot["type"] == "STRING" and slot["name"] in MULTILINE


def lines_height(node: Node) -> float:
    """The height of each multiline widget."""
    many = sum(map(has_lines, node["inputs"]))
    left = node["size"][1] - first_widget(node) - WIDGET * (len(node["widgets_values"]) - many)
    return left / max(many, 1)


def input_place(node: Node, index: int) -> Point:
    left, top = node["pos"]
    slot = node["inputs"][index]
    before = node["inputs"][:index]
    if "widget" not in slot:
        return left + 10, top + 14 + SLOT * sum("widget" not in each for each in before)
    heights = [lines_height(node) if has_lines(each) else WIDGET for each in before if "widget" in each]
    return left + 10, top + first_widget(node) + sum(heights) + 10


def output_place(node: Node, index: int) -> Point:
    return node["pos"][0] + node["size"][0] - 9, node["pos"][1] + 14 + SLOT * index


def node_box(node: Node) -> Box:
    (left, top), (width, height) = node["pos"], node["size"]
    return left, top - TITLE, left + width, top + (0 if node["flags"].get("collapsed") else height)


def group_box(group: dict[str, Any]) -> Box:
    left, top, width, height = group["bounding"]
    return left, top, left + width, top + height


def group_title(group: dict[str, Any]) -> Box:
    """The letters, slightly wider than the font draws them."""
    left, top = group["bounding"][:2]
    return left, top, left + 0.6 * group["font_size"] * len(group["title"]), top + 1.4 * group["font_size"]


class Wires:
    """The segments of all wires of a graph; a segment that several links share is drawn once."""

    def __init__(self, graph: Graph) -> None:
        self.nodes = {node["id"]: node for node in graph["nodes"]}
        self.reroutes = {each["id"]: each for each in graph["extra"].get("reroutes", [])}
        self.last_reroute = {each["id"]: each["parentId"] for each in graph["extra"].get("linkExtensions", [])}
        self.links = {link[0]: link for link in graph["links"]}

    def chain(self, link: int) -> list[int]:
        """The reroutes of a link, from its origin to its target."""
        chain: list[int] = []
        reroute = self.last_reroute.get(link)
        while reroute is not None:
            chain.insert(0, reroute)
            reroute = self.reroutes[reroute].get("parentId")
        return chain

    def _places(self, link: int) -> list[Point]:
        _, origin, output, target, slot, _ = self.links[link]
        between = [tuple(self.reroutes[each]["pos"]) for each in self.chain(link)]
        return [output_place(self.nodes[origin], output), *between, input_place(self.nodes[target], slot)]

    def _heading(self, reroute: int, before: Point) -> float:
        """The angle of the curve at a reroute: between where it comes from and, on average, where it goes."""
        here = self.reroutes[reroute]["pos"]
        links = self.reroutes[reroute]["linkIds"]
        following = [self._places(link)[self.chain(link).index(reroute) + 2] for link in links]
        onward = sum(math.atan2(y - here[1], x - here[0]) for x, y in following) / len(following)
        arriving = math.atan2(here[1] - before[1], here[0] - before[0])
        turn = (arriving - onward) / 2
        return arriving - (turn + math.pi if abs(turn) > math.pi / 2 else turn)

    def stretches(self) -> Iterator[Stretch]:
        drawn = set()
        for link, (_, origin, output, target, _, _) in self.links.items():
            chain = self.chain(link)
            places = self._places(link)
            headings = [self._heading(each, before) for each, before in zip(chain, places, strict=False)]
            for at, (start, end) in enumerate(pairwise(places)):
                name = chain[at] if at < len(chain) else ("link", link)
                if name in drawn:
                    continue
                drawn.add(name)
                ends = {origin} if at == 0 else set()
                ends |= {target} if at == len(chain) else set()
                out = headings[at - 1] if at > 0 else None
                into = headings[at] if at < len(chain) else None
                yield Stretch((origin, output), frozenset(ends), bezier(start, out, end, into))


def bezier(start: Point, out: float | None, end: Point, into: float | None) -> tuple[Point, ...]:
    """A curve that leaves and arrives at these angles; None is a slot, where a wire is horizontal."""
    quarter = math.dist(start, end) / 4
    slot_reach = max(30, quarter) if out is None and into is None else quarter
    reroute_reach = min(FARTHEST_CONTROL, quarter)
    first = ahead(start, out or 0, slot_reach if out is None else reroute_reach)
    last = ahead(end, into or 0, -(slot_reach if into is None else reroute_reach))
    controls = (start, first, last, end)
    return tuple(on_curve(controls, step / PIECES) for step in range(PIECES + 1))


def ahead(place: Point, angle: float, distance: float) -> Point:
    return place[0] + distance * math.cos(angle), place[1] + distance * math.sin(angle)


def on_curve(controls: tuple[Point, Point, Point, Point], share: float) -> Point:
    rest = 1 - share
    weights = (rest**3, 3 * rest**2 * share, 3 * rest * share**2, share**3)
    return tuple(sum(weight * point[axis] for weight, point in zip(weights, controls, strict=True)) for axis in (0, 1))


# --- plane geometry ---


def overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def within(inner: Box, outer: Box) -> bool:
    return outer[0] <= inner[0] and outer[1] <= inner[1] and inner[2] <= outer[2] and inner[3] <= outer[3]


def bounds(curve: tuple[Point, ...]) -> Box:
    across, down = zip(*curve, strict=True)
    return min(across), min(down), max(across), max(down)


def touches(curve: tuple[Point, ...], box: Box) -> bool:
    return overlap(bounds(curve), box) and any(
        box[0] < x < box[2] and box[1] < y < box[3] for a, b in pairwise(curve) for x, y in (a, halfway(a, b), b)
    )


def halfway(a: Point, b: Point) -> Point:
    return (a[0] + b[0]) / 2, (a[1] + b[1]) / 2


def side(a: Point, b: Point, c: Point) -> float:
    """Positive if c is on one side of the line from a to b, negative if it is on the other."""
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def lines_cross(a: Point, b: Point, c: Point, d: Point) -> bool:
    return side(a, b, c) * side(a, b, d) < 0 and side(c, d, a) * side(c, d, b) < 0


def curves_cross(a: tuple[Point, ...], b: tuple[Point, ...]) -> int:
    """The number of crossings."""
    if not overlap(bounds(a), bounds(b)):
        return 0
    near = [line for line in pairwise(a) if overlap(bounds(line), bounds(b))]
    return sum(lines_cross(*one, *other) for one in near for other in pairwise(b))


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


def test_every_model_loader_says_where_its_file_comes_from(graph):
    loaders = [node for node in graph["nodes"] if "Loader" in node["type"]]
    assert loaders
    for node in loaders:
        models = node["properties"]["models"]
        assert [model["name"] for model in models] == node["widgets_values"][: len(models)]
        files = [value for value in node["widgets_values"] if value.endswith(".safetensors")]
        assert len(models) == len(files) > 0
        for model in models:
            assert model["url"].startswith("https://")
            assert model["directory"]
