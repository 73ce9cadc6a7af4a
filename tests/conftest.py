"""Make the pack importable as ComfyUI imports it (by its path, never through sys.path), and ComfyUI itself importable.

Also what tests of several folders share: the difference of tensors, a stored graph in API format.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
COMFYUI = Path(os.environ.get("COMFYUI_PATH", ROOT / ".dev" / "ComfyUI-0.30.0"))
PACK = "retrace_pack"

# The pack's root stays off sys.path: its nodes/ and samplers/ would shadow ComfyUI's own modules of these names.
TESTS = ROOT / "tests"
for folder in (TESTS, TESTS / "tiny_models", COMFYUI):
    sys.path.insert(0, str(folder))
os.environ.setdefault("COMFYUI_PATH", str(COMFYUI))


def _import_pack() -> None:
    spec = importlib.util.spec_from_file_location(PACK, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)])
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[PACK] = module
    spec.loader.exec_module(module)


_import_pack()


def pytest_addoption(parser):
    parser.addoption(
        "--install-browser",
        action="store_true",
        help="let the browser tests install Debian's package chromium, as they do by themselves where CI is true",
    )
    parser.addoption(
        "--keep-generation",
        metavar="VERSION",
        help="keep today's templates and node definitions in tests/saved_workflows/VERSION, which must keep opening",
    )


@pytest.fixture(scope="session")
def relative():
    """The largest difference, relative to the largest expected value."""
    return lambda ours, expected: float((ours - expected).abs().max() / expected.abs().max())


@pytest.fixture(scope="session")
def widget_names():
    """(A stored node, /object_info) -> the input that each of its widgets_values belongs to; None: the frontend's own."""
    from retrace_pack.batch.stored_graph import widget_names

    return widget_names


@pytest.fixture(scope="session")
def api_prompt():
    """(A stored graph, /object_info) -> the prompt the frontend would queue: widgets by name, links as [node, output]."""
    from retrace_pack.batch.stored_graph import api_prompt

    return api_prompt
