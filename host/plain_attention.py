"""One attention as ComfyUI would run it without any replacement, in old versions and new."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import comfy.ldm.modules.attention as core
from torch import Tensor, nn

from .sampling_run import Options

PREFERRED = "retrace_preferred_attention"


def plain_attention(q: Tensor, k: Tensor, v: Tensor, options: Options, mask: Tensor | None = None) -> Tensor:
    """What ComfyUI's own layer would give; `mask` [rows, queries, keys] is added to the scores.

    The backend is the one that the layer prefers (see `with_preferred`) or that another pack put in its place.
    """
    # ComfyUI's own layers pass a mask only where they have one, and another pack's override may count on that.
    more: dict[str, Any] = {} if mask is None else {"mask": mask}
    if PREFERRED in options:
        more["preferred_attention"] = options[PREFERRED]
    container = getattr(core, "AttentionTensorContainer", None)
    if container is not None:
        # As ComfyUI's own layers in newer versions. A backend owns what a container holds, but the edit needs its tensors.
        q, k, v = (container(each.clone()) for each in (q, k, v))
    return core.optimized_attention(
        q, k, v, options["n_heads"], attn_precision=options["attn_precision"], transformer_options=options, **more
    )


def preferred_backends(block: Iterable[nn.Module], kind: str) -> list[object]:
    """What each attention of a UNet block prefers (in newer versions, from the checkpoint's metadata), or None."""
    return [
        getattr(getattr(layer, kind), "comfy_attention", None)
        for part in block
        if isinstance(part, core.SpatialTransformer)
        for layer in part.transformer_blocks
    ]


def with_preferred(options: Options, backend: object) -> Options:
    """The options of a layer that prefers the backend; ComfyUI tells a replaced attention nothing of it."""
    return options if backend is None else {**options, PREFERRED: backend}
