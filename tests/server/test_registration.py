"""What a running ComfyUI says of the pack: nodes, their help and texts, the template, and the time it takes to load."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
NODE_IDS = sorted(
    node_id
    for path in (ROOT / "nodes").glob("*.py")
    for node_id in re.findall(r'node_id="(\w+)"', path.read_text(encoding="utf-8"))
)
FOUNDATION = [
    "RetraceCompareImages", "RetraceDDIMInvert", "RetraceDDIMSample", "RetraceDDIMScheduler", "RetraceLoadTrajectory",
    "RetraceSamplerDDIM", "RetraceSaveTrajectory", "RetraceSchedulePlot", "RetraceTrajectoryLatent",
    "RetraceTrajectoryPreview",
]  # fmt: skip


@pytest.fixture(scope="module")
def object_info(server):
    return server.get("/object_info")


def test_every_node_is_registered(object_info):
    assert set(FOUNDATION) <= set(NODE_IDS)
    assert [node_id for node_id in NODE_IDS if node_id not in object_info] == []
    assert {node_id for node_id in object_info if node_id.startswith("Retrace")} == set(NODE_IDS)


@pytest.mark.parametrize("node_id", NODE_IDS)
def test_a_node_explains_itself(object_info, node_id):
    node = object_info[node_id]
    assert node["category"].startswith("retrace/")
    assert node["description"] and node["display_name"] and node["search_aliases"]
    inputs = {**node["input"].get("required", {}), **node["input"].get("optional", {})}
    assert [name for name, (_, *options) in inputs.items() if not (options and options[0].get("tooltip"))] == []
    assert len(node["output_tooltips"]) == len(node["output"]) and all(node["output_tooltips"])


@pytest.mark.parametrize("node_id", NODE_IDS)
def test_a_node_has_a_help_page(server, node_id):
    page = server.request(f"/extensions/retrace/docs/{node_id}.md").decode()
    assert len(page) > 300


def test_the_template_is_listed_and_served(server):
    assert "retrace_edit" in server.get("/workflow_templates")["retrace"]
    template = json.loads(server.request("/api/workflow_templates/retrace/retrace_edit.json"))
    assert {"RetraceDDIMInvert", "RetraceDDIMSample"} <= {node["type"] for node in template["nodes"]}


def test_loading_the_pack_takes_no_time_worth_speaking_of(server):
    """At most 0.2 s of ComfyUI's start, by its own account."""
    seconds = {
        Path(path).name: float(value)
        for value, path in re.findall(r"(\d+\.\d+) seconds(?: \(.*\))?: (\S+)", server.log())
    }
    assert seconds["retrace"] <= 0.2
