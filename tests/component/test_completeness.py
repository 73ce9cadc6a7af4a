"""Everything is documented: every node, input and output is explained on the node, in its help and in Chinese."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image
from retrace_pack.nodes import NODES

ROOT = Path(__file__).resolve().parent.parent.parent
SCHEMAS = {node.define_schema().node_id: node.define_schema() for node in NODES}
CHINESE = json.loads((ROOT / "locales" / "zh" / "nodeDefs.json").read_text(encoding="utf-8"))
# What vue-i18n, which the frontend translates with, takes for syntax in a message.
MESSAGE_SYNTAX = set("{}@|")

# At most five: what a person has to look through in the node menu.
CATEGORIES = {f"Retrace/{name}" for name in ("Edit", "Invert", "Inpaint", "Hints", "Advanced")}

each_node = pytest.mark.parametrize("node_id", SCHEMAS)


@dataclass(frozen=True)
class Input:
    """An input under the name that a workflow uses: an input of a DynamicCombo's option has the combo's name before a dot."""

    id: str
    tooltip: str | None

    @property
    def name(self) -> str:
        return self.id.rpartition(".")[2]

    @property
    def key(self) -> str:
        """The key under which the frontend looks it up: formatUtil.ts, normalizeI18nKey."""
        return self.id.replace(".", "_")


def inputs_of(inputs, prefix=""):
    for each in inputs:
        yield Input(prefix + each.id, each.tooltip)
        for option in getattr(each, "options", None) or []:
            if hasattr(option, "inputs"):
                yield from inputs_of(option.inputs, f"{prefix}{each.id}.")


def documented(page: Path) -> set[str]:
    """The names that a page explains: before the colon of a list's item."""
    items = (line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("- "))
    return {name for item in items for name in re.split(r"[^A-Za-z0-9_]+", item.split(":")[0])}


def test_there_are_nodes():
    assert len(SCHEMAS) >= 27


@each_node
def test_a_node_is_explained(node_id):
    schema = SCHEMAS[node_id]
    assert schema.display_name and schema.description and schema.search_aliases
    assert schema.category in CATEGORIES


@each_node
def test_a_name_ends_with_the_pack(node_id):
    """So that a search for the pack lists all of its nodes, and no other pack's node looks like one."""
    assert SCHEMAS[node_id].display_name.endswith(" (Retrace)")
    assert CHINESE[node_id]["display_name"].endswith(" (Retrace)")


@pytest.mark.parametrize(
    ("words", "node_id"),
    [
        ("edit photo", "RetraceEditImage"),
        ("remove object", "RetraceEditImage"),
        ("change word", "RetraceEditImage"),
        ("style", "RetracePlugAndPlay"),
        ("inpaint", "RetraceLatentBlendSample"),
        ("unsample", "RetraceDDIMInvert"),
    ],
)
def test_a_node_has_the_words_that_people_search_for(words, node_id):
    """That it is on the first screen is a browser test, which not every machine can run."""
    schema = SCHEMAS[node_id]
    assert any(words in name.lower() for name in (schema.display_name, *schema.search_aliases))


@each_node
def test_a_seed_stays_until_a_person_changes_it(node_id):
    """A seed that changes after every run recomputes an inversion, which takes minutes."""
    controls = [getattr(each, "control_after_generate", None) for each in SCHEMAS[node_id].inputs]
    assert {control for control in controls if control} <= {"fixed"}


@each_node
def test_every_input_and_output_has_a_tooltip(node_id):
    schema = SCHEMAS[node_id]
    assert [each.id for each in inputs_of(schema.inputs) if not each.tooltip] == []
    assert [each.id for each in schema.outputs if not each.tooltip] == []


@each_node
@pytest.mark.parametrize("page", ["{}.md", "{}/zh.md"])
def test_a_help_page_explains_every_input_and_output(node_id, page):
    path = ROOT / "web" / "docs" / page.format(node_id)
    assert path.is_file()
    schema = SCHEMAS[node_id]
    names = [each.name for each in inputs_of(schema.inputs)] + [each.id for each in schema.outputs]
    assert sorted(set(names) - documented(path)) == []


@each_node
@pytest.mark.parametrize("page", ["{}.md", "{}/zh.md"])
def test_a_help_page_shows_what_the_node_made(node_id, page):
    """`dev.py pictures` makes them. Small: they come with the pack, and the panel is some 350 pixels wide."""
    text = (ROOT / "web" / "docs" / page.format(node_id)).read_text(encoding="utf-8")
    ((words, address),) = re.findall(r"!\[(.*?)\]\((.*?)\)", text)
    assert address == f"pictures/{node_id}.webp"
    assert bool(re.search("[\u4e00-\u9fff]", words)) == page.endswith("zh.md") and len(words) > 10
    path = ROOT / "web" / "docs" / address
    assert path.stat().st_size <= 60_000
    with Image.open(path) as picture:
        assert picture.format == "WEBP" and 200 <= picture.width <= 640


@each_node
def test_a_picture_carries_a_graph_with_the_node(node_id):
    """Dropping the file onto ComfyUI opens it: tests/browser/test_carried_graph.py."""
    with Image.open(ROOT / "web" / "docs" / "pictures" / f"{node_id}.webp") as picture:
        kind, _, text = picture.getexif()[0x0110].partition(":")
    graph = json.loads(text)
    links = [value for node in graph.values() for value in node["inputs"].values() if isinstance(value, list)]
    assert kind == "prompt" and links and {origin for origin, _ in links} <= set(graph)
    used = [node["inputs"] for node in graph.values() if node["class_type"] == node_id]
    known = {each.id for each in inputs_of(SCHEMAS[node_id].inputs)}
    assert used and all(set(inputs) <= known for inputs in used)


@each_node
def test_a_node_is_translated(node_id):
    schema, chinese = SCHEMAS[node_id], CHINESE[node_id]
    assert chinese["display_name"] and chinese["description"]
    assert set(chinese["inputs"]) == {each.key for each in inputs_of(schema.inputs)}
    assert set(chinese["outputs"]) == {str(at) for at in range(len(schema.outputs))}
    slots = [*chinese["inputs"].items(), *chinese["outputs"].items()]
    assert [key for key, slot in slots if not slot.get("name") or not slot.get("tooltip")] == []
    texts = [chinese["display_name"], chinese["description"], *(slot["name"] for _, slot in slots)]
    assert [text for text in texts if MESSAGE_SYNTAX & set(text)] == []


def test_the_categories_are_translated():
    main = json.loads((ROOT / "locales" / "zh" / "main.json").read_text(encoding="utf-8"))
    assert {f"Retrace/{name}" for name, chinese in main["nodeCategories"].items() if chinese != name} == CATEGORIES


@each_node
def test_a_chinese_text_is_chinese(node_id):
    page = (ROOT / "web" / "docs" / node_id / "zh.md").read_text(encoding="utf-8")
    chinese = CHINESE[node_id]
    tooltips = [slot["tooltip"] for slot in (*chinese["inputs"].values(), *chinese["outputs"].values())]
    assert [text for text in (page, chinese["description"], *tooltips) if not re.search("[\u4e00-\u9fff]", text)] == []


def test_no_translation_and_no_page_is_of_a_node_that_is_gone():
    docs = ROOT / "web" / "docs"
    pictures = [path for path in (docs / "pictures").iterdir() if path.suffix == ".webp"]
    assert len(pictures) == len(list((docs / "pictures").iterdir()))
    pages = {path.stem for path in (*docs.iterdir(), *pictures) if path.name != "pictures"}
    assert sorted((set(CHINESE) | pages) - set(SCHEMAS)) == []
