"""Sampling: DDIM in one node, over part of a schedule."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io

from ..host.ddim import initial_noise, sample_latent
from ..host.guided import Guidance
from ..host.latents import latent_samples, require_level, with_samples, without_noise_mask
from ..host.model_facts import model_facts
from ..host.report import report
from ..samplers.noise import choose_seeds, noise_source
from ..samplers.schedule import Spacing, Terminal
from .inputs import (
    end_step_input,
    eta_input,
    last_step,
    model_input,
    negative_input,
    positive_input,
    seed_input,
    spacing_input,
    start_step_input,
    steps_input,
    terminal_input,
)
from .node import RetraceNode


class RetraceDDIMSample(RetraceNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RetraceDDIMSample",
            display_name="DDIM Sample (Retrace)",
            category="Retrace/Advanced",
            description="Samples with DDIM from one step of a schedule to another. An inverted latent is used as it "
            "is; a clean one is noised first (img2img) when add_noise is on.",
            search_aliases=["ddim", "ksampler", "start step", "img2img", "resample", "reconstruct"],
            inputs=[
                model_input(),
                positive_input(
                    "What the result should show: the source prompt to reconstruct, another prompt to edit."
                ),
                negative_input("Used only when cfg is not 1."),
                io.Latent.Input("latent", tooltip="A latent with the noise of start_step, or a clean one."),
                seed_input("For the noise of add_noise and of eta. No effect without them."),
                steps_input(),
                io.Float.Input(
                    "cfg", default=3.0, min=0.0, max=30.0, step=0.1, tooltip="Guidance scale; 1 reconstructs best."
                ),
                start_step_input("Number of noisiest steps to skip; lower is a stronger edit."),
                end_step_input(),
                io.Boolean.Input(
                    "add_noise",
                    default=False,
                    tooltip="Off: the latent already has the noise of start_step. On: the latent is clean, and the "
                    "noise is added.",
                ),
                eta_input(),
                spacing_input(),
                terminal_input(),
                io.Boolean.Input(
                    "same_noise",
                    default=False,
                    advanced=True,
                    tooltip="Uses the same noise for every image of the batch.",
                ),
                io.String.Input(
                    "row_seeds",
                    default="",
                    advanced=True,
                    tooltip="Seeds separated by commas, one for each image of the batch; they replace seed.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
            outputs=[
                io.Latent.Output(
                    "latent", tooltip="The result. It still contains noise if end_step ends the run early."
                )
            ],
        )

    @classmethod
    def execute(
        cls,
        model: io.Model.Type,
        positive: list[Any],
        negative: list[Any],
        latent: dict[str, Any],
        seed: int,
        steps: int,
        cfg: float,
        start_step: int,
        end_step: int,
        add_noise: bool,
        eta: float,
        spacing: Spacing,
        terminal: Terminal,
        same_noise: bool,
        row_seeds: str,
    ) -> io.NodeOutput:
        facts = model_facts(model)
        samples = latent_samples(latent, model)
        end_step = last_step(end_step, steps)
        schedule = facts.schedule(steps, spacing, terminal).window(start_step, end_step)
        seeds = choose_seeds(seed, row_seeds, len(samples), same_noise)
        if add_noise and (same_noise or row_seeds.strip()):
            noise = noise_source(samples.shape, seeds)()
        elif add_noise:
            noise = initial_noise(latent, samples, seed)
        else:
            chosen = f"steps {steps}, start_step {start_step} and spacing {spacing!r}"
            require_level(latent, float(schedule.sigmas[0]), chosen)
            latent = without_noise_mask(latent)
            noise = torch.zeros_like(samples)
        guidance = Guidance(model, positive, negative, cfg)
        mask = latent.get("noise_mask")
        if end_step < steps:
            latent = without_noise_mask(latent)
        result, evaluations = sample_latent(
            guidance,
            samples,
            noise,
            schedule.sigmas,
            eta,
            seeds,
            denoise_mask=mask,
            read_as_clean=end_step == steps,
        )
        return io.NodeOutput(with_samples(latent, result), ui=report(cls, f"{evaluations} model evaluations"))
