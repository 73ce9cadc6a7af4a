"""ComfyUI's UNet (SD1.x, SD2.x, SDXL) as a backbone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from comfy.ldm.modules.attention import SpatialTransformer
from comfy.ldm.modules.diffusionmodules.openaimodel import Downsample, ResBlock, UNetModel, Upsample
from comfy.model_patcher import ModelPatcher
from comfy.sd import CLIP
from torch import Tensor

from ..attention.words import PromptTokens
from .backbone import FeatureEdit, Layer, LayerEdit, RunningEdit, nearest_resolution
from .clip_prompts import encode_rows, prompt_tokens
from .edited_run import edit_every_run
from .sampling_run import Options
from .unet_attention import Place, blocks, with_patches

CHECKPOINTED = ResBlock, SpatialTransformer
"""The blocks whose insides are computed again for a backward pass instead of being kept in memory."""


@dataclass(frozen=True)
class UNet:
    """A UNet with cross-attention; `places` says where each of its layers is."""

    layers: tuple[Layer, ...]
    places: tuple[Place, ...]

    @property
    def structure_layers(self) -> tuple[Layer, ...]:
        """From the decoder's second block at a quarter of the latent onward (SD1.x's output block 4, the paper's layer 4)."""
        decoder = [layer for layer in self.layers if self.places[layer.index].block == "output"]
        resolution = nearest_resolution(decoder)
        numbers = sorted({self.places[layer.index].number for layer in decoder if layer.resolution == resolution})
        first = numbers[:2][-1]
        return tuple(layer for layer in decoder if self.places[layer.index].number >= first)

    def prompt_tokens(self, clip: CLIP, text: str) -> PromptTokens:
        return prompt_tokens(clip, text)

    def encode_rows(self, clip: CLIP, texts: Sequence[str]) -> list[list[Any]]:
        return encode_rows(clip, texts)

    def install(
        self, model: ModelPatcher, node: str | None, running: RunningEdit, edits: Sequence[LayerEdit]
    ) -> ModelPatcher:
        placed = [(self.places[edit.layer.index], edit) for edit in edits]
        return edit_every_run(model, node, running, partial(with_patches, edits=placed))

    def replace_features(self, model: ModelPatcher, edit: FeatureEdit) -> None:
        """The features are what a residual block adds to its skip connection (Tumanyan et al. 2022, section 4)."""
        others = model.model_options["transformer_options"].get("patches", {}).get("forward_timestep_embed_patch", [])
        if any(issubclass(ResBlock, module) for module, _ in others):
            raise ValueError(
                "another node before it already replaces the UNet's residual blocks, and ComfyUI calls only the first; "
                "leave out that node, or set feature_fraction to 0."
            )
        place = self.places[self.structure_layers[0].index]

        def features(
            block: ResBlock, x: Tensor, emb: Tensor, context: object, options: Options, *args: object
        ) -> Tensor:
            out = block(x, emb)
            if options["block"] != (place.block, place.number):
                return out
            return edit(out, block.skip_connection(x), options)

        model.set_model_forward_timestep_embed_patch((ResBlock, features))


def unet_of(network: object) -> UNet | None:
    """The network as a backbone, or None for another kind of network or a UNet without cross-attention."""
    found = tuple(_layers(network)) if isinstance(network, UNetModel) else ()
    if not found:
        return None
    layers, places = zip(*found, strict=True)
    return UNet(layers, places)


def _layers(network: UNetModel) -> Iterator[tuple[Layer, Place]]:
    index = resolution = 0
    for block, modules in blocks(network).items():
        for number, module in enumerate(modules):
            for part in module:
                resolution += isinstance(part, Downsample) - isinstance(part, Upsample)
                if isinstance(part, SpatialTransformer):
                    for position in range(len(part.transformer_blocks)):
                        yield Layer(index, resolution), Place(block, number, position)
                        index += 1
