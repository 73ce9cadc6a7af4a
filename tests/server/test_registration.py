"""What a running ComfyUI reports about the pack: its nodes, their help and texts, the templates, and the load time."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

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
    "RetraceTrajectoryNoise", "RetraceTrajectoryPreview",
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
    assert node["category"].startswith("Retrace/")
    assert node["description"] and node["display_name"] and node["search_aliases"]
    inputs = {**node["input"].get("required", {}), **node["input"].get("optional", {})}
    assert [name for name, (_, *options) in inputs.items() if not (options and options[0].get("tooltip"))] == []
    assert len(node["output_tooltips"]) == len(node["output"]) and all(node["output_tooltips"])


@pytest.mark.parametrize("node_id", NODE_IDS)
def test_a_node_has_a_help_page(server, node_id):
    page = server.request(f"/extensions/retrace/docs/{node_id}.md").decode()
    assert len(page) > 300


@pytest.mark.parametrize("page", ["{}.md", "{}/zh.md"])
@pytest.mark.parametrize("node_id", NODE_IDS)
def test_the_picture_of_a_help_page_is_served(server, node_id, page):
    """Where the frontend looks for it: a page's addresses are below docs/, whatever folder the page itself is in."""
    text = server.request(f"/extensions/retrace/docs/{page.format(node_id)}").decode()
    (address,) = re.findall(r"!\[.*?\]\((.*?)\)", text)
    assert server.request(f"/extensions/retrace/docs/{address}").startswith(b"RIFF")


def test_the_template_is_listed_and_served(server):
    name = "7 Invert, rebuild, edit"
    assert name in server.get("/workflow_templates")["retrace"]
    template = json.loads(server.request(f"/api/workflow_templates/retrace/{quote(name)}.json"))
    assert {"RetraceDDIMInvert", "RetraceDDIMSample"} <= {node["type"] for node in template["nodes"]}


LOADING = """
import asyncio, importlib.util, sys
root, comfyui, bytecode = sys.argv[1:]
sys.path.insert(0, comfyui)
from comfy.cli_args import args
args.cpu = True
import comfy_api.latest, latent_preview, nodes

before = set(sys.modules)
sys.dont_write_bytecode, sys.pycache_prefix = False, bytecode
for name in ("first_start", "later_start"):
    calls = 0
    def count(frame, event, argument):
        global calls
        calls += 1
    sys.setprofile(count)
    spec = importlib.util.spec_from_file_location(name, f"{root}/__init__.py", submodule_search_locations=[root])
    sys.modules[name] = pack = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pack)
    extension = asyncio.run(pack.comfy_entrypoint())
    schemas = [node.GET_SCHEMA() for node in asyncio.run(extension.get_node_list())]
    sys.setprofile(None)
    print(len(schemas), calls)
print(*{name.split(".")[0] for name in set(sys.modules) - before})
"""


def test_loading_the_pack_takes_no_time_worth_speaking_of(tmp_path):
    """It imports only its own modules, and once its bytecode is kept, few calls are made: a count is the same on any machine."""
    command = [sys.executable, "-c", LOADING, str(ROOT), os.environ["COMFYUI_PATH"], str(tmp_path)]
    printed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.splitlines()
    (nodes, calls), modules = printed[-2].split(), printed[-1].split()
    assert set(modules) == {"first_start", "later_start"}
    assert int(nodes) == len(NODE_IDS)
    assert int(calls) <= 125_000
