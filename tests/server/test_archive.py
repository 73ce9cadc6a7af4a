"""The archive to publish, packed as comfy-cli packs it and unpacked as ComfyUI-Manager does, in an empty ComfyUI.

`comfy node pack` zips the files that git tracks, except those that .comfyignore lists. This test makes the same archive with
git and zipfile alone, so that it does not need comfy-cli.
"""

import os
import re
import shutil
import subprocess
import zipfile
from pathlib import Path
from urllib.parse import quote
from xml.etree import ElementTree

import pytest
from retrace_pack.batch.server import ComfyServer

ROOT = Path(__file__).resolve().parent.parent.parent
DEVELOPERS_ONLY = ("tests", "demo", "benchmarks", "docs", ".ci", ".github", "dev.py")


def tracked(*options: str) -> set[str]:
    return set(subprocess.check_output(["git", "ls-files", "--cached", *options], cwd=ROOT, text=True).splitlines())


@pytest.fixture(scope="module")
def packed() -> set[str]:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("the list of packed files is git's, and this is no git checkout")
    return tracked() - tracked("--ignored", "--exclude-from=.comfyignore")


def test_the_archive_holds_what_a_user_needs_and_no_more(packed):
    assert {"__init__.py", "LICENSE", "README.md", "pyproject.toml", "locales/zh/nodeDefs.json"} <= packed
    assert (
        sorted(name for name in packed if name.split("/")[0] in DEVELOPERS_ONLY or name.endswith(".safetensors")) == []
    )
    assert {"install.py", "prestartup_script.py"}.isdisjoint(packed)
    assert sum((ROOT / name).stat().st_size for name in packed) < 4_000_000


def test_an_install_moves_no_package_of_the_host(packed):
    """Any requirement can: OpenCV's newest asks for another NumPy. Manager reads requirements.txt, pip `dependencies`."""
    assert re.search(r"^dependencies = \[\]$", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert "requirements.txt" not in packed


def test_the_version_is_dated_and_the_pictures_of_the_registry_are_there():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (version,) = re.findall(r'^version = "(.+)"$', project, re.MULTILINE)
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d$", changes, re.MULTILINE)
    sides = {}
    for field in ("Icon", "Banner"):
        (address,) = re.findall(rf'^{field} = "(.+)"$', project, re.MULTILINE)
        picture = ElementTree.parse(ROOT / address).getroot()
        sides[field] = int(picture.attrib["width"]), int(picture.attrib["height"])
    # What the registry asks for: a square of at most 400 pixels, and 21:9.
    assert sides["Icon"][0] == sides["Icon"][1] <= 400
    assert sides["Banner"][0] * 9 == sides["Banner"][1] * 21


@pytest.fixture(scope="module")
def unpacked(packed, tmp_path_factory):
    """The folder that an installation of the archive leaves in custom_nodes/."""
    folder = tmp_path_factory.mktemp("archive")
    with zipfile.ZipFile(folder / "node.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(packed):
            archive.write(ROOT / name, name)
    assert (folder / "node.zip").stat().st_size < 3_000_000
    with zipfile.ZipFile(folder / "node.zip") as archive:
        archive.extractall(folder / "retrace")
    return folder / "retrace"


def test_a_fresh_comfyui_has_every_node_page_and_template_of_the_archive(unpacked):
    node_ids = {
        node_id
        for path in (unpacked / "nodes").glob("*.py")
        for node_id in re.findall(r'node_id="(\w+)"', path.read_text(encoding="utf-8"))
    }
    templates = {path.stem for path in (unpacked / "workflows").glob("*.json")}
    with ComfyServer(Path(os.environ["COMFYUI_PATH"]), custom_nodes={"retrace": unpacked}) as server:
        assert len(node_ids) >= 27 and node_ids <= set(server.get("/object_info"))
        assert set(server.get("/i18n")["zh"]["nodeDefs"]) >= node_ids
        for node_id in node_ids:
            for page in (f"{node_id}.md", f"{node_id}/zh.md", f"pictures/{node_id}.webp"):
                assert server.request(f"/extensions/retrace/docs/{page}"), page
        assert len(templates) >= 8 and set(server.get("/workflow_templates")["retrace"]) == templates
        for name in templates:
            assert server.request(f"/api/workflow_templates/retrace/{quote(name)}.json")
            assert server.request(f"/api/workflow_templates/retrace/{quote(name)}.jpg").startswith(b"\xff\xd8")
        blueprints = [
            each["name"] for each in server.get("/global_subgraphs").values() if "retrace" in each["info"]["node_pack"]
        ]
        assert sorted(blueprints) == sorted(path.stem for path in (unpacked / "subgraphs").glob("*.json"))
