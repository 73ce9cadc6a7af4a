"""The archive to publish, unpacked into a fresh ComfyUI: it contains everything that the nodes need.

`comfy node pack` packs the files that git tracks, except those that .comfyignore lists. This test makes the same list with
git alone, so that it does not need comfy-cli.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

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


def test_a_fresh_comfyui_lists_every_node_of_the_archive(packed, tmp_path):
    for name in packed:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    sources = [(ROOT / name).read_text(encoding="utf-8") for name in packed if name.startswith("nodes/")]
    node_ids = {node_id for source in sources for node_id in re.findall(r'node_id="(\w+)"', source)}
    with ComfyServer(Path(os.environ["COMFYUI_PATH"]), custom_nodes={"retrace": tmp_path}) as server:
        assert len(node_ids) >= 27 and node_ids <= set(server.get("/object_info"))
        assert set(server.get("/i18n")["zh"]["nodeDefs"]) >= node_ids
        assert server.request("/extensions/retrace/docs/RetraceDDIMInvert/zh.md")
        assert "7 Invert, rebuild, edit" in server.get("/workflow_templates")["retrace"]
