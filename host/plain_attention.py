"""Attention exactly as ComfyUI's UNet computes it without replacements, in old and new versions."""

from __future__ import annotations

from typing import Any

import comfy.ldm.modules.attention as core
from torch import Tensor

from .sampling_run import Options

PREFERRED = "retrace_preferred_attention"


def plain_attention(q: Tensor, k: Tensor, v: Tensor, options: Options, *, mask: Tensor | None = None) -> Tensor:
    """The result of ComfyUI's own layer; `mask` [rows, queries, keys] is added to the scores.

    The backend is the one that the layer prefers (see `with_preferred`), or another pack's override of it.
    """
    # ComfyUI's own layers pass a mask only where they have one, and another pack's override may count on that.
    more: dict[str, Any] = {} if mask is None else {"mask": mask}
    if PREFERRED in options:
        more["preferred_attention"] = options[PREFERRED]
    container = getattr(core, "AttentionTensorContainer", None)
    if container is not None:
        # As ComfyUI's own layers do in newer versions. A backend owns what a container holds, but an edit keeps its tensors.
        q, k, v = (container(each.clone()) for each in (q, k, v))
    return core.optimized_attention(
        q, k, v, options["n_heads"], attn_precision=options["attn_precision"], transformer_options=options, **more
    )


def with_preferred(options: Options, backend: object) -> Options:
    """The options with the backend that a layer prefers, which ComfyUI does not pass to a replaced attention."""
    return options if backend is None else {**options, PREFERRED: backend}
