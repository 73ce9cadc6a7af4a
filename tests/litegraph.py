"""What LiteGraph draws of a stored graph, computed as in the frontend: boxes, slots, and wires, which are Bezier curves.

Lengths are in pixels of the canvas.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

Point = tuple[float, float]
Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""
Graph = dict[str, Any]
Node = dict[str, Any]

NOTES = ("MarkdownNote", "Note")
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


@dataclass(frozen=True)
class Stretch:
    """One drawn segment of a wire, from a slot or reroute to the next."""

    origin: tuple[int, int]
    """The node and output that the wire comes from."""
    ends: frozenset[int]
    """The nodes whose slots it touches."""
    curve: tuple[Point, ...]


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
