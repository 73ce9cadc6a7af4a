"""Prompt-to-prompt (Hertz et al. 2022, arXiv 2208.01626) inside ComfyUI's sampling: batch rows [source, target, ...]."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ..attention.controllers import CrossEdit, edit_cross_attention, edited_tokens, replaces_self_attention
from ..attention.local_blend import LocalBlend, blend_rows, sum_at_largest_size, word_map
from ..attention.prompt_edit import PromptEdit
from ..attention.rows import repeat_source
from ..samplers.schedule import step_at
from .after_step import add_change, model_changes
from .backbone import AttentionCall, LayerEdit, nearest_resolution
from .backbones import backbone_of
from .sampling_run import SamplingRun


def patch_prompt_to_prompt(
    model: ModelPatcher, edit: PromptEdit, self_resolution: int, blend_resolution: int, node: str
) -> ModelPatcher:
    """A clone of the model that edits as it samples.

    Self-attention is replaced in layers of `self_resolution` and smaller maps, cross-attention in all layers; the local blend
    looks for words in the layers from `blend_resolution` down to a quarter of the latent's side.

    Raises ValueError for a model without a backbone that can be edited.
    """
    backbone = backbone_of(model)
    blend_resolutions = range(0)
    if edit.blend is not None and edit.blend.reads_maps:
        nearest = nearest_resolution(backbone.layers, blend_resolution)
        blend_resolutions = range(nearest, nearest_resolution(backbone.layers) + 1)
    running = _RunningPromptEdit(edit, blend_resolutions)
    edits: list[LayerEdit] = []
    for layer in backbone.layers:
        if any(target.is_active for target in edit.targets) or layer.resolution in blend_resolutions:
            edits.append(LayerEdit(layer, "text", running.text_attention))
        if edit.self_fraction > 0 and layer.resolution >= self_resolution:
            edits.append(LayerEdit(layer, "image", running.image_attention))
    patched = backbone.install(model, node, running, edits)
    if edit.blend is not None:
        add_change(patched, running.after_step)
        patched.set_model_sampler_post_cfg_function(running.blend_denoised)
    return patched


@dataclass
class _RunningPromptEdit:
    """The edit, and what it collects during a run: each prompt's word maps by size [h, w], summed over steps and over the layers
    of `blend_resolutions`.
    """

    edit: PromptEdit
    blend_resolutions: range
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
        if self.blend_resolutions and run.has_areas:
            raise run.refusal(
                "a conditioning has an area, but blend_words need the whole picture; leave "
                "out Conditioning (Set Area) and the mask bounds of Conditioning (Set Mask), or the blend_words."
            )
        self.run = run
        self.word_maps.clear()

    def end(self) -> None:
        self.word_maps.clear()
        self.on_device.clear()

    def text_attention(self, call: AttentionCall) -> Tensor | None:
        step, chunks = self.run.step(call.options), self.run.positive_chunks(call.options)
        blend = self.edit.blend if call.layer.resolution in self.blend_resolutions else None
        edits = any(bool(edited_tokens(target.fractions, step, self.run.steps).any()) for target in self.edit.targets)
        if not chunks or not (edits or blend):
            return None
        if blend is not None:
            self.run.require_whole_picture("blend_words", call.options)
        out = call.attend(call.q, call.k, call.v) if edits else None
        for first in (chunk * self.run.rows for chunk in chunks):
            source = call.text_probabilities(first, self.edit.tokens[0])
            if blend is not None:
                self._collect(blend, 0, source, call.map_size)
            for target, edit in enumerate(self._targets(call.q.device), start=1):
                row = first + target
                unedited = call.text_probabilities(row, self.edit.tokens[target])
                edited = edit_cross_attention(edit, source, unedited, step, self.run.steps)
                if blend is not None:
                    self._collect(blend, target, edited, call.map_size)
                if out is not None:
                    out[row] += call.weighted_text_values(row, edited - unedited).to(out)
        return out

    def image_attention(self, call: AttentionCall) -> Tensor | None:
        chunks, step = self.run.positive_chunks(call.options), self.run.step(call.options)
        if not chunks or not replaces_self_attention(self.edit.self_fraction, step, self.run.steps):
            return None
        self.run.require_every_pixel(call.q, call.k, call.map_size)
        count = len(call.options["uuids"])
        queries = repeat_source(call.q, self.run.rows, chunks, count)
        keys = repeat_source(call.k, self.run.rows, chunks, count, call.image)
        return call.attend(queries, keys, call.v)

    def after_step(self, step: int, x: Tensor, sigma_next: Tensor) -> Tensor:
        """The reference's local blend, applied to the states after a step."""
        blend = self.edit.blend
        if blend is None or not blend.is_active(step, self.run.steps):
            return x
        return blend_rows(x, blend.mask(*self._maps(), (x.shape[2], x.shape[3])))

    def blend_denoised(self, args: dict[str, Any]) -> Tensor:
        """The local blend for samplers that do not call `after_step`, applied to the denoised prediction instead of the state."""
        options = args["model_options"]["transformer_options"]
        if model_changes(options).applied:
            return args["denoised"]
        step = step_at(options["sample_sigmas"], args["sigma"][0])
        return self.after_step(step, args["denoised"], args["sigma"])

    def _targets(self, device: torch.device) -> tuple[CrossEdit, ...]:
        if device not in self.on_device:
            self.on_device[device] = tuple(target.to(device) for target in self.edit.targets)
        return self.on_device[device]

    def _collect(self, blend: LocalBlend, row: int, attention: Tensor, size: tuple[int, int]) -> None:
        for mask, words in (("opened", blend.words), ("subtracted", blend.subtracted)):
            of_row = self.word_maps.setdefault((mask, row), {})
            of_row[size] = of_row.get(size, 0) + word_map(attention, words[row]).view(size)

    def _maps(self) -> tuple[Tensor, Tensor]:
        """The maps that open the mask and those that close it, each [rows, 1, h, w]; empty if none are read."""
        if not self.blend_resolutions:
            return torch.zeros(self.run.rows, 1, 1, 1), torch.zeros(self.run.rows, 1, 1, 1)
        rows = range(self.run.rows)
        opened, subtracted = (
            torch.stack([sum_at_largest_size(list(self.word_maps[mask, row].values())) for row in rows])[:, None]
            for mask in ("opened", "subtracted")
        )
        return opened, subtracted
