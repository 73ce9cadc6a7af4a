"""The photos that the pictures edit: still lifes, which are rendered by code that lives with the tests."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from tiny_models.photos import PHOTOS, photo, write
from tiny_models.world import camera
from tiny_models.world.render import nearest_solid

__all__ = ["PHOTOS", "camera", "nearest_solid", "photo", "write"]
