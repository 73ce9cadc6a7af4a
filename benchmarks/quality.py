"""How often tiny_sd draws what the prompt asks for; see tests/tiny_sd/evaluate.py."""

import runpy

from _host import TINY

if __name__ == "__main__":
    runpy.run_path(str(TINY / "evaluate.py"), run_name="__main__")
