"""Edited attention in ComfyUI's UNet: a replacement function, chained after those of other packs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import comfy.model_patcher
from comfy.ldm.modules.attention import SpatialTransformer
from torch import Tensor, nn

from .backbone import AttendsTo, AttentionCall, LayerEdit
from .plain_attention import plain_attention, with_preferred
from .sampling_run import Options, SamplingRun

Attention = Callable[[Tensor, Tensor, Tensor, Options], Tensor]
"""ComfyUI's form of a replaced attention: (q, k, v [rows, tokens, heads * dim], options) -> [rows, tokens, heads * dim]."""

Block = Literal["input", "middle", "output"]
MODULES: dict[AttendsTo, str] = {"image": "attn1", "text": "attn2"}
ALL, NONE = slice(None), slice(0)


@dataclass(frozen=True)
class Place:
    """The place of a layer: transformer block `index` of a block of the UNet."""

    block: Block
    number: int
    index: int


@dataclass(frozen=True)
class Patch:
    """The attention of one block of the UNet, with edits.

    Attributes:
        run: the run of the sampler.
        attends_to: which of the block's two attentions is replaced.
        backends: the backend that each layer of the block prefers.
        edits: by the layer's index in the block; other layers are unchanged.
        earlier: the function that another pack had installed there.
    """

    run: SamplingRun
    attends_to: AttendsTo
    backends: Sequence[object]
    edits: Mapping[int, LayerEdit]
    earlier: Attention | None

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, options: Options) -> Tensor:
        self.run.require_every_row(k, options)
        options = with_preferred(options, self.backends[options["block_index"]])
        edit = self.edits.get(options["block_index"])
        edited = None if edit is None else edit.edit(self._call(edit, q, k, v, options))
        if self.earlier is None:
            return plain_attention(q, k, v, options) if edited is None else edited
        before = self.earlier(q, k, v, options)
        return before if edited is None else before + (edited - plain_attention(q, k, v, options))

    def _call(self, edit: LayerEdit, q: Tensor, k: Tensor, v: Tensor, options: Options) -> AttentionCall:
        height, width = options["activations_shape"][2:]
        return AttentionCall(
            layer=edit.layer,
            q=q,
            k=k,
            v=v,
            image=ALL if self.attends_to == "image" else NONE,
            text=ALL if self.attends_to == "text" else NONE,
            heads=options["n_heads"],
            map_size=(height, width),
            attend=partial(plain_attention, options=options),
            options=options,
        )


def blocks(network: Any) -> dict[Block, Any]:  # noqa: ANN401  (torch types its blocks as plain modules)
    """The parts of every block of the UNet, in execution order."""
    return {"input": network.input_blocks, "middle": [network.middle_block or ()], "output": network.output_blocks}


def with_patches(
    model_options: Options,
    network: Any,  # noqa: ANN401
    run: SamplingRun,
    edits: Sequence[tuple[Place, LayerEdit]],
) -> Options:
    """A copy of the options with the edits on top of other packs' patches.

    Our patch uses the key of a whole block. Guidance that replaces a block during the run (perturbed attention) then takes
    its place; the key of a single layer would hide that guidance. Only if another pack's single-layer patch would hide ours
    do we use that layer's key as well.
    """
    options = comfy.model_patcher.create_model_options_clone(model_options)
    replaced = options["transformer_options"].get("patches_replace", {})
    by_block: dict[tuple[AttendsTo, Block, int], dict[int, LayerEdit]] = {}
    for place, edit in edits:
        by_block.setdefault((edit.attends_to, place.block, place.number), {})[place.index] = edit
    for (attends_to, block, number), of_the_block in by_block.items():
        module = MODULES[attends_to]
        earlier = replaced.get(module, {})
        backends = _preferred_backends(blocks(network)[block][number], module)
        layer_keys = [(block, number, index) for index in of_the_block]
        for key in ((block, number), *(key for key in layer_keys if key in earlier)):
            patch = Patch(run, attends_to, backends, of_the_block, earlier.get(key))
            comfy.model_patcher.set_model_options_patch_replace(options, patch, module, *key)
    return options


def _preferred_backends(block: Iterable[nn.Module], module: str) -> list[object]:
    """The backend that each attention of a block prefers, or None (newer versions of ComfyUI read it from the checkpoint)."""
    return [
        getattr(getattr(layer, module), "comfy_attention", None)
        for part in block
        if isinstance(part, SpatialTransformer)
        for layer in part.transformer_blocks
    ]
