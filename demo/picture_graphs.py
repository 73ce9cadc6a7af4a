"""All pictures of the help pages that ComfyUI makes, one per node, grouped by family."""

from __future__ import annotations

from editing_pictures import EDITING, MEASURING
from hint_pictures import HINTS
from inpainting_pictures import INPAINTING
from inversion_pictures import INVERSION, RECONSTRUCTION, SAMPLING

PICTURES = (*SAMPLING, *INVERSION, *RECONSTRUCTION, *EDITING, *INPAINTING, *HINTS, *MEASURING)
