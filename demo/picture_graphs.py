"""All pictures of the help pages, one per node, grouped by family."""

from __future__ import annotations

from editing_pictures import EDITING, INPAINTING, MEASURING
from hint_pictures import HINTS
from inversion_pictures import INVERSION, RECONSTRUCTION, SAMPLING

PICTURES = (*SAMPLING, *INVERSION, *RECONSTRUCTION, *EDITING, *INPAINTING, *HINTS, *MEASURING)
