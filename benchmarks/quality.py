"""How often the miniatures draw what the prompt asks for; see tests/tiny_models/evaluate.py. Without --parts: the stored ones."""

import runpy
import sys

from _host import PARTS

if __name__ == "__main__":
    sys.argv += [] if "--parts" in sys.argv else ["--parts", str(PARTS)]
    runpy.run_path(str(PARTS.parent / "evaluate.py"), run_name="__main__")
