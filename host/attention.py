"""Attention patches in ComfyUI's UNet: which layers there are, and how a patch joins those of other packs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import comfy.model_patcher
import comfy.patcher_extension
from comfy.ldm.modules.attention import SpatialTransformer
from comfy.ldm.modules.diffusionmodules.openaimodel import Downsample, UNetModel, Upsample
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from .clones import own_clone
from .conditioning import covers_a_part
from .plain_attention import plain_attention, preferred_backends, with_preferred
from .sampling_run import Options, SamplingRun, tell_the_positive_apart

Attention = Callable[[Tensor, Tensor, Tensor, Options], Tensor]
"""ComfyUI's form of a replaced attention: (q, k, v [rows, tokens, heads * dim], options) -> [rows, tokens, heads * dim]."""

Kind = Literal["attn1", "attn2"]
Block = Literal["input", "middle", "output"]
WRAPPER = "retrace_attention"
QUARTER = 2
"""Halvings of the latent where SD1.x has its 16 x 16 maps at 512 x 512."""


@dataclass(frozen=True)
class Layer:
    """One transformer block of the UNet. `level` counts how often the latent was halved before it."""

    block: Block
    number: int
    index: int
    level: int

    @property
    def key(self) -> tuple[Block, int, int]:
        """The name by which ComfyUI looks up a replaced attention."""
        return self.block, self.number, self.index


Edit = Callable[[Layer, Tensor, Tensor, Tensor, Options], "Tensor | None"]
"""What a plain attention would give if it were edited, or None where the edit does not act."""


@dataclass(frozen=True)
class Patch:
    """Our function in place of the attentions of one block, with the function of another pack that was there before.

    `edits` holds the layers that are edited by their index in the block; the others stay as they are. `backends` holds what each
    layer of the block prefers.
    """

    run: SamplingRun
    backends: Sequence[object]
    edits: Mapping[int, tuple[Layer, Edit]]
    earlier: Attention | None

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, options: Options) -> Tensor:
        self.run.require_every_row(k, options)
        options = with_preferred(options, self.backends[options["block_index"]])
        layer, edit = self.edits.get(options["block_index"], (None, None))
        edited = None if layer is None or edit is None else edit(layer, q, k, v, options)
        if self.earlier is None:
            return plain_attention(q, k, v, options) if edited is None else edited
        before = self.earlier(q, k, v, options)
        return before if edited is None else before + (edited - plain_attention(q, k, v, options))


class RunningEdit(Protocol):
    """An edit while it is installed in a model."""

    def begin(self, run: SamplingRun, positive: Sequence[dict[str, Any]]) -> None:
        """Before a run: refuse a batch or a conditioning that does not fit, by ValueError, and forget the last run."""
        ...

    def end(self) -> None:
        """After a run, however it ended: let go of its tensors."""
        ...


def attention_layers(model: ModelPatcher) -> tuple[Layer, ...]:
    """All transformer blocks in the order in which they are run.

    Raises ValueError for a model that has no UNet with cross-attention (Flux, SD3, ...).
    """
    network = model.get_model_object("diffusion_model")
    layers = _unet_layers(network) if isinstance(network, UNetModel) else ()
    if not layers:
        raise ValueError(
            f"the model ({type(model.model).__name__}) has no UNet with cross-attention, which is what this node edits; "
            "load an SD1.x, SD2.x or SDXL checkpoint."
        )
    return layers


def nearest_level(layers: Sequence[Layer], wanted: int = QUARTER) -> int:
    """Of the layers' levels the one nearest to `wanted` halvings of the latent; of two as near the one of larger maps."""
    return min({layer.level for layer in layers}, key=lambda level: (abs(level - wanted), level))


def install(
    model: ModelPatcher, node: str | None, edit: RunningEdit, patches: Sequence[tuple[Kind, Layer, Edit]]
) -> ModelPatcher:
    """A clone of the model whose attention is edited in every run; a run begins and ends with the edit.

    The patches are put in place when a run begins, over whatever upstream and downstream nodes replaced by then, so that the
    order of the nodes does not matter. `node`: see `SamplingRun`.
    """
    patched = own_clone(model)

    def outer_sample(
        executor: comfy.patcher_extension.WrapperExecutor,
        noise: Tensor,
        latent: Tensor,
        sampler: object,
        sigmas: Tensor,
        *args: object,
        **more: object,
    ) -> Tensor:
        guider: Any = executor.class_obj
        in_parts = any(covers_a_part(entry) for entries in guider.conds.values() for entry in entries)
        # Another pack may pad its SIGMAS with zeros, which are no steps.
        steps = min(len(sigmas) - 1, int((sigmas > 0).sum()))
        run = SamplingRun(node, len(noise), steps, (noise.shape[2], noise.shape[3]), in_parts)
        edit.begin(run, guider.conds.get("positive", []))

        def sampler_sample(executor: comfy.patcher_extension.WrapperExecutor, *args: object, **more: object) -> Tensor:
            run.positive = tell_the_positive_apart(guider.conds)
            return executor(*args, **more)

        of_the_model = guider.model_options
        network = guider.model_patcher.get_model_object("diffusion_model")
        guider.model_options = _with_patches(of_the_model, network, run, patches)
        comfy.patcher_extension.add_wrapper_with_key(
            comfy.patcher_extension.WrappersMP.SAMPLER_SAMPLE,
            WRAPPER,
            sampler_sample,
            guider.model_options,
            is_model_options=True,
        )
        try:
            return executor(noise, latent, sampler, sigmas, *args, **more)
        finally:
            guider.model_options = of_the_model
            edit.end()

    patched.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.OUTER_SAMPLE, WRAPPER, outer_sample)
    return patched


def probabilities(q: Tensor, k: Tensor, options: Options) -> Tensor:
    """The attention of one row's queries [pixels, heads * dim] over its keys [K, heads * dim]: float32 [heads, pixels, K]."""
    queries, keys = (split_heads(each, options).float() for each in (q, k))
    return (queries @ keys.transpose(1, 2) * options["dim_head"] ** -0.5).softmax(-1)


def split_heads(row: Tensor, options: Options) -> Tensor:
    """[tokens, heads * dim] as [heads, tokens, dim]."""
    return row.unflatten(-1, (options["n_heads"], options["dim_head"])).movedim(1, 0)


def join_heads(row: Tensor) -> Tensor:
    """[heads, tokens, dim] as [tokens, heads * dim]."""
    return row.movedim(0, 1).flatten(1)


def map_size(options: Options) -> tuple[int, int]:
    """Height and width of the layer that is being run."""
    height, width = options["activations_shape"][2:]
    return height, width


def _modules(network: Any) -> dict[Block, Any]:  # noqa: ANN401  (torch types its blocks as plain modules)
    return {"input": network.input_blocks, "middle": [network.middle_block or ()], "output": network.output_blocks}


def _unet_layers(network: Any) -> tuple[Layer, ...]:  # noqa: ANN401
    layers: list[Layer] = []
    level = 0
    for block, modules in _modules(network).items():
        for number, module in enumerate(modules):
            for part in module:
                level += isinstance(part, Downsample) - isinstance(part, Upsample)
                if isinstance(part, SpatialTransformer):
                    layers += [Layer(block, number, index, level) for index in range(len(part.transformer_blocks))]
    return tuple(layers)


def _with_patches(
    model_options: Options,
    network: Any,  # noqa: ANN401  (torch types its blocks as plain modules)
    run: SamplingRun,
    patches: Sequence[tuple[Kind, Layer, Edit]],
) -> Options:
    """A copy of the options with our patches over those of other packs.

    Ours have the key of a whole block. Guidance that replaces a block during the run (perturbed attention) takes their place
    so, where a key of a single layer would hide it. Only where another pack's patch of a single layer would hide ours do we
    take that layer's key as well.
    """
    options = comfy.model_patcher.create_model_options_clone(model_options)
    replaced = options["transformer_options"].get("patches_replace", {})
    blocks: dict[tuple[Kind, Block, int], dict[int, tuple[Layer, Edit]]] = {}
    for kind, layer, edit in patches:
        blocks.setdefault((kind, layer.block, layer.number), {})[layer.index] = (layer, edit)
    for (kind, block, number), edits in blocks.items():
        earlier = replaced.get(kind, {})
        backends = preferred_backends(_modules(network)[block][number], kind)
        for key in ((block, number), *(layer.key for layer, _ in edits.values() if layer.key in earlier)):
            patch = Patch(run, backends, edits, earlier.get(key))
            comfy.model_patcher.set_model_options_patch_replace(options, patch, kind, *key)
    return options
