"""Attention edits that last for one run of a sampler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy.patcher_extension
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from .backbone import RunningEdit
from .clones import own_clone
from .conditioning import covers_a_part
from .sampling_run import Options, SamplingRun, identify_positive

WRAPPER = "retrace_attention"

WithEdits = Callable[[Options, Any, SamplingRun], Options]
"""(ComfyUI's model_options, the network, the run) -> a copy of the options with the edits in place."""


def edit_every_run(model: ModelPatcher, node: str | None, running: RunningEdit, with_edits: WithEdits) -> ModelPatcher:
    """A clone of the model that installs its edits at the start of every run and removes them at its end.

    By then, upstream and downstream nodes have made their own replacements, so their order does not matter.
    `node`: see `SamplingRun`.
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
        has_areas = any(covers_a_part(entry) for entries in guider.conds.values() for entry in entries)
        # Another pack may pad its SIGMAS with zeros, which are not steps.
        steps = min(len(sigmas) - 1, int((sigmas > 0).sum()))
        run = SamplingRun(
            node=node, rows=len(noise), steps=steps, size=(noise.shape[-2], noise.shape[-1]), has_areas=has_areas
        )
        running.begin(run, guider.conds.get("positive", []))

        def sampler_sample(executor: comfy.patcher_extension.WrapperExecutor, *args: object, **more: object) -> Tensor:
            run.positive = identify_positive(guider.conds)
            return executor(*args, **more)

        unedited = guider.model_options
        network = guider.model_patcher.get_model_object("diffusion_model")
        guider.model_options = with_edits(unedited, network, run)
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
            guider.model_options = unedited
            running.end()

    patched.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.OUTER_SAMPLE, WRAPPER, outer_sample)
    return patched
