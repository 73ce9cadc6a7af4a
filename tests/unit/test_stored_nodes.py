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


def test_a_seed_stays_until_a_person_changes_it(nodes):
    """A seed that changes after every run recomputes an inversion, which takes minutes."""
    controls = {"increment", "decrement", "randomize"}
    assert [node["title"] for node in nodes if controls & set(map(str, node.get("widgets_values") or []))] == []
