"""Make the pack importable as ComfyUI does it (by its path, never through sys.path), and ComfyUI itself importable."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COMFYUI = Path(os.environ.get("COMFYUI_PATH", ROOT / ".dev" / "ComfyUI-0.30.0"))
PACK = "retrace_pack"

# The pack's root stays off sys.path: its nodes/ and samplers/ would shadow ComfyUI's own modules of these names.
for folder in (COMFYUI, ROOT / "tests" / "tiny_sd"):
    sys.path.insert(0, str(folder))
os.environ.setdefault("COMFYUI_PATH", str(COMFYUI))


def _import_pack() -> None:
    spec = importlib.util.spec_from_file_location(PACK, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)])
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[PACK] = module
    spec.loader.exec_module(module)


_import_pack()
