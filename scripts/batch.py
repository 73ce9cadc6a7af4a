"""Many photos through one workflow: `python scripts/batch.py --help`. What it does is in ../batch/command.py."""

import importlib.util
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "batch"


def load_batch() -> None:
    """Make ../batch importable as `batch`: this script has that name too, and the pack's root must not be on sys.path."""
    place = [str(FOLDER)]
    spec = importlib.util.spec_from_file_location("batch", FOLDER / "__init__.py", submodule_search_locations=place)
    assert spec is not None and spec.loader is not None
    sys.modules["batch"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["batch"])


if __name__ == "__main__":
    load_batch()
    from batch.command import main  # pyright: ignore[reportMissingImports]  (this file has its name)

    sys.exit(main())
