"""Prompt-to-prompt (Hertz et al. 2022, arXiv 2208.01626) inside ComfyUI's sampling: batch rows [source, target, ...]."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ..attention.controllers import CrossEdit, cross_tokens, edit_cross, self_is_replaced
from ..attention.local_blend import LocalBlend, blend_rows, in_the_largest_size, word_map
from ..attention.prompt_edit import PromptEdit
from ..attention.rows import from_the_source
from ..samplers.schedule import step_at
from .after_step import add_change, model_changes
from .attention import (
    Edit,
    Kind,
    Layer,
    attention_layers,
    install,
    join_heads,
    map_size,
    nearest_level,
    plain_attention,
    probabilities,
    split_heads,
)
from .sampling_run import Options, SamplingRun


def patch_prompt_to_prompt(
    model: ModelPatcher, edit: PromptEdit, self_level: int, blend_level: int, node: str
) -> ModelPatcher:
    """A clone of the model that edits as it samples.

    Self-attention is replaced in layers whose latent was halved at least `self_level` times; cross-attention in all; the
    local blend looks for words in the layers from those halved `blend_level` times down to a quarter of the latent.

    Raises ValueError for a model without UNet cross-attention.
    """
    layers = attention_layers(model)
    blend_levels = range(0)
    if edit.blend is not None and edit.blend.looks_for_words:
        blend_levels = range(nearest_level(layers, blend_level), nearest_level(layers) + 1)
    running = _RunningPromptEdit(edit, blend_levels)
    patches: list[tuple[Kind, Layer, Edit]] = []
    for layer in layers:
        if any(target.acts for target in edit.targets) or layer.level in blend_levels:
            patches.append(("attn2", layer, running.cross))
        if edit.self_fraction > 0 and layer.level >= self_level:
            patches.append(("attn1", layer, running.itself))
    patched = install(model, node, running, patches)
    if edit.blend is not None:
        add_change(patched, running.after_step)
        patched.set_model_sampler_post_cfg_function(running.blend_denoised)
    return patched


@dataclass
class _RunningPromptEdit:
    """The edit with what a run gathers: the word maps of each prompt, by their sizes [h, w], summed over steps and over the
    layers of `blend_levels`."""

    edit: PromptEdit
    blend_levels: range
    run: SamplingRun = field(init=False)
    word_maps: dict[tuple[str, int], dict[tuple[int, int], Tensor]] = field(default_factory=dict)
    on_device: dict[torch.device, tuple[CrossEdit, ...]] = field(default_factory=dict)

    def begin(self, run: SamplingRun, positive: Sequence[dict[str, Any]]) -> None:
        prompts = len(self.edit.tokens)
        if run.rows != prompts:
            raise run.refusal(
                f"the latent batch has {run.rows} rows, but there are {prompts} prompts, the source and its "
                f"targets; give {prompts} rows of the same latent (RepeatLatentBatch), the first of which is the source."
            )
        for entry in positive:
            if entry["cross_attn"].shape[0] != prompts or entry["cross_attn"].shape[1] % max(self.edit.tokens):
                raise run.refusal(
                    f"the positive conditioning has the shape {tuple(entry['cross_attn'].shape)}, which is not "
                    f"that of the {prompts} prompts; connect the conditioning of {run.node} to the sampler's positive input."
                )
        if self.blend_levels and run.in_parts:
            raise run.refusal(
                "a conditioning has an area, but blend_words are looked for in the whole picture; leave "
                "out Conditioning (Set Area) and the mask bounds of Conditioning (Set Mask), or the blend_words."
            )
        self.run = run
        self.word_maps.clear()

    def end(self) -> None:
        self.word_maps.clear()
        self.on_device.clear()

    def cross(self, layer: Layer, q: Tensor, k: Tensor, v: Tensor, options: Options) -> Tensor | None:
        step, chunks = self.run.step(options), self.run.positive_chunks(options)
        blend = self.edit.blend if layer.level in self.blend_levels else None
        edits = any(bool(cross_tokens(target.fractions, step, self.run.steps).any()) for target in self.edit.targets)
        if not chunks or not (edits or blend):
            return None
        if blend is not None:
            self.run.require_whole_picture("blend_words", options)
        out = plain_attention(q, k, v, options) if edits else None
        for first in (chunk * self.run.rows for chunk in chunks):
            source = probabilities(q[first], k[first, : self.edit.tokens[0]], options)
            if blend is not None:
                self._gather(blend, 0, source, options)
            for target, edit in enumerate(self._targets(q.device), start=1):
                row, tokens = first + target, self.edit.tokens[target]
                own = probabilities(q[row], k[row, :tokens], options)
                edited = edit_cross(edit, source, own, step, self.run.steps)
                if blend is not None:
                    self._gather(blend, target, edited, options)
                if out is not None:
                    difference = (edited - own) @ split_heads(v[row, :tokens], options).float()
                    out[row] += join_heads(difference).to(out)
        return out

    def itself(self, layer: Layer, q: Tensor, k: Tensor, v: Tensor, options: Options) -> Tensor | None:
        chunks = self.run.positive_chunks(options)
        if not chunks or not self_is_replaced(self.edit.self_fraction, self.run.step(options), self.run.steps):
            return None
        self.run.require_every_query(q, k, options)
        q, k = (from_the_source(each, self.run.rows, chunks, len(options["uuids"])) for each in (q, k))
        return plain_attention(q, k, v, options)

    def after_step(self, step: int, x: Tensor, sigma_next: Tensor) -> Tensor:
        """The reference's local blend, of the states after a step."""
        blend = self.edit.blend
        if blend is None or not blend.begins(step, self.run.steps):
            return x
        return blend_rows(x, blend.mask(*self._maps(), (x.shape[2], x.shape[3])))

    def blend_denoised(self, args: dict[str, Any]) -> Tensor:
        """The local blend for samplers that know nothing of it: of what the model predicts, instead of the state."""
        options = args["model_options"]["transformer_options"]
        if model_changes(options).applied:
            return args["denoised"]
        step = step_at(options["sample_sigmas"], args["sigma"][0])
        return self.after_step(step, args["denoised"], args["sigma"])

    def _targets(self, device: torch.device) -> tuple[CrossEdit, ...]:
        if device not in self.on_device:
            self.on_device[device] = tuple(target.to(device) for target in self.edit.targets)
        return self.on_device[device]

    def _gather(self, blend: LocalBlend, row: int, attention: Tensor, options: Options) -> None:
        for what, words in (("opened", blend.words), ("subtracted", blend.subtracted)):
            size, of_row = map_size(options), self.word_maps.setdefault((what, row), {})
            of_row[size] = of_row.get(size, 0) + word_map(attention, words[row]).view(size)

    def _maps(self) -> tuple[Tensor, Tensor]:
        """The maps that open and those that close the mask, each [rows, 1, h, w]; empty ones where none are read."""
        if not self.blend_levels:
            return torch.zeros(self.run.rows, 1, 1, 1), torch.zeros(self.run.rows, 1, 1, 1)
        rows = range(self.run.rows)
        opened, subtracted = (
            torch.stack([in_the_largest_size(list(self.word_maps[what, row].values())) for row in rows])[:, None]
            for what in ("opened", "subtracted")
        )
        return opened, subtracted
