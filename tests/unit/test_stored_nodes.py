"""What templates and blueprints store in a node besides its place: the pack it comes from, and a fixed seed."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
GRAPHS = [*sorted((ROOT / "workflows").glob("*.json")), *sorted((ROOT / "subgraphs").glob("*.json"))]


@pytest.fixture(params=GRAPHS, ids=lambda path: path.stem)
def nodes(request):
    graph = json.loads(request.param.read_text(encoding="utf-8"))
    subgraphs = graph.get("definitions", {}).get("subgraphs", [])
    return [node for each in (graph, *subgraphs) for node in each["nodes"]]


def test_a_node_names_the_pack_that_installs_it(nodes):
    """ComfyUI-Manager looks packs up by `cnr_id`, the name in the registry; nodes without one it lists as unknown."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    name, version = (re.findall(rf'^{field} = "(.+)"$', project, re.MULTILINE)[0] for field in ("name", "version"))
    ours = [node["properties"] for node in nodes if node["type"].startswith("Retrace")]
    assert [each for each in ours if each.get("cnr_id") != name] == []
    assert [each for each in ours if each.get("ver") != version] == []


def test_every_model_loader_says_where_its_file_comes_from(nodes):
    """In templates and in blueprints, whose loader is inside: the frontend offers to download what is missing."""
    loaders = [node for node in nodes if "Loader" in node["type"]]
    assert loaders
    for node in loaders:
        files = [value for value in node["widgets_values"] if value.endswith(".safetensors")]
        models = node["properties"]["models"]
        assert [model["name"] for model in models] == files != []
        assert all(model["url"].startswith("https://") and model["directory"] for model in models)


def test_the_chinese_blueprint_is_the_english_one_in_other_words():
    """The frontend translates no blueprints. Its file name is ASCII, because packing takes other names for missing files."""
    english, chinese = (
        json.loads((ROOT / "subgraphs" / f"Edit a real image{of}.json").read_text(encoding="utf-8"))
        for of in ("", " (zh)")
    )

    def words_and_rest(graph):
        words = []

        def rest(value, key=""):
            if key in ("label", "description") or (key in ("name", "title") and value in names):
                words.append(value)
                return ""
            if isinstance(value, dict):
                return {each: rest(inner, each) for each, inner in value.items()}
            return [rest(inner) for inner in value] if isinstance(value, list) else value

        (subgraph,) = graph["definitions"]["subgraphs"]
        names = {subgraph["name"]}
        text = json.dumps(rest(graph)).replace(subgraph["id"], "")
        return words, text

    (spoken, same), (translated, again) = words_and_rest(english), words_and_rest(chinese)
    assert again == same and len(translated) == len(spoken) > 20
    assert [word for word in translated if not re.search("[\u4e00-\u9fff]", word)] == []


def test_a_seed_stays_until_a_person_changes_it(nodes):
    """A seed that changes after every run recomputes an inversion, which takes minutes."""
    controls = {"increment", "decrement", "randomize"}
    assert [node["title"] for node in nodes if controls & set(map(str, node.get("widgets_values") or []))] == []
