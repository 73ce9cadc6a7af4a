"""Make ../batch importable as `batch` by its path: with the pack's root on sys.path, it would shadow ComfyUI's modules."""

import importlib.util
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "batch"

spec = importlib.util.spec_from_file_location("batch", FOLDER / "__init__.py", submodule_search_locations=[str(FOLDER)])
assert spec is not None and spec.loader is not None
sys.modules["batch"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules["batch"])
