"""Inpainting: latent blending around a SAMPLER, and in a single node."""

from __future__ import annotations

import logging
from typing import Any, get_args

from comfy_api.latest import io
from torch import Tensor

from ..host.blend_plan import BlendPlan
from ..host.blending import blend_latent, wrapped
from ..host.ddim import initial_noise
from ..host.guided import Guidance
from ..host.latents import image_samples, with_samples
from ..host.model_facts import model_facts
from ..host.naming import LOGGER
from ..host.report import report
from ..inversion.trajectory import Trajectory
from ..samplers.blending import MaskOverTime, Source, steps_of_strength
from ..samplers.schedule import Spacing, Terminal
from .inputs import (
    RetraceTrajectory,
    eta_input,
    model_input,
    negative_input,
    positive_input,
    seed_input,
    spacing_input,
    steps_input,
    terminal_input,
)
from .node import RetraceNode


def blend_inputs() -> list[io.Input]:
    return [
        io.Combo.Input(
            "kept_from",
            options=list(get_args(Source)),
            default="matched",
            tooltip="Source of the unmasked area at each step. matched: the image, noised to the current level. "
            "trajectory: the states of an inversion, no noise added. legacy: diffusers' old inpainting "
            "pipeline, one level too noisy; DDIM only.",
        ),
        io.Combo.Input(
            "mask_over_time",
            options=list(get_args(MaskOverTime)),
            default="constant",
            tooltip="constant: the same mask at every step. shrinking: starts wide, to protect thin masks. change "
            "map: a pixel's gray value sets how much it may change, from 0 (not at all) to 1 (from the "
            "first step).",
        ),
        io.Int.Input(
            "dilations",
            default=3,
            min=0,
            max=16,
            advanced=True,
            tooltip="For shrinking: number of wider masks first, each a latent pixel wider than the next.",
        ),
    ]


def optional_inputs() -> list[io.Input]:
    return [
        io.Mask.Input(
            "mask",
            optional=True,
            tooltip="White is repainted, black is kept; any size. A noise mask of the latent is combined with it: a "
            "pixel changes only as far as both allow.",
        ),
        RetraceTrajectory.Input(
            "trajectory", optional=True, tooltip="For kept_from trajectory: the inversion of the same image."
        ),
    ]


class RetraceLatentBlend(RetraceNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RetraceLatentBlend",
            display_name="Latent Blend (Retrace)",
            category="Retrace/Inpaint",
            description="Wraps a SAMPLER so that it repaints the image inside a mask and restores the unmasked area "
            "at every step, from the noised image or from its inverted trajectory. For every node that "
            "takes a SAMPLER.",
            search_aliases=["inpaint sampler", "blended latent diffusion", "differential diffusion", "keep background"],
            inputs=[
                io.Sampler.Input("sampler", tooltip="The sampler to wrap, from KSamplerSelect or Sampler DDIM."),
                *blend_inputs(),
                *optional_inputs(),
            ],
            outputs=[io.Sampler.Output("sampler", tooltip="For SamplerCustomAdvanced, with the clean latent.")],
        )

    @classmethod
    def execute(
        cls,
        sampler: io.Sampler.Type,
        kept_from: Source,
        mask_over_time: MaskOverTime,
        dilations: int,
        mask: Tensor | None = None,
        trajectory: Trajectory | None = None,
    ) -> io.NodeOutput:
        plan = BlendPlan(
            source=kept_from, mask=mask, over_time=mask_over_time, dilations=dilations, trajectory=trajectory
        )
        return io.NodeOutput(wrapped(sampler, plan, cls.title()))


class RetraceLatentBlendSample(RetraceNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RetraceLatentBlendSample",
            display_name="Latent Blend Sample: inpaint (Retrace)",
            category="Retrace/Inpaint",
            description="Inpaints a latent with DDIM: repaints the image inside the mask under the prompt and keeps "
            "the rest, with the strength of diffusers' inpainting pipelines.",
            search_aliases=["inpaint", "inpainting", "legacy inpaint", "blended latent diffusion", "repaint", "mask"],
            inputs=[
                model_input(),
                positive_input("What the picture should show, especially inside the mask."),
                negative_input("Used only when cfg is not 1."),
                io.Latent.Input("latent", tooltip="The clean image, encoded with the model's own VAE."),
                seed_input("For the noise inside the mask and, unless it comes from a trajectory, outside it."),
                steps_input(),
                io.Float.Input("cfg", default=5.0, min=0.0, max=30.0, step=0.1, tooltip="Guidance scale."),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="How much the masked area changes: the fraction of the steps to run. 0 changes nothing.",
                ),
                *blend_inputs(),
                eta_input(),
                spacing_input(),
                terminal_input(),
                io.Boolean.Input(
                    "inherit_noise",
                    default=False,
                    optional=True,
                    tooltip="For kept_from trajectory: start inside the mask from the inverted image's own noise, "
                    "too, which favors the place and outline of the old object. Off: noise from the seed.",
                ),
                *optional_inputs(),
            ],
            hidden=[io.Hidden.unique_id],
            outputs=[io.Latent.Output("latent", tooltip="The inpainted latent. Decode it, then use Pixel Composite.")],
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
        strength: float,
        kept_from: Source,
        mask_over_time: MaskOverTime,
        dilations: int,
        eta: float,
        spacing: Spacing,
        terminal: Terminal,
        inherit_noise: bool = False,
        mask: Tensor | None = None,
        trajectory: Trajectory | None = None,
    ) -> io.NodeOutput:
        facts = model_facts(model)
        samples = image_samples(latent, model)
        plan = BlendPlan(
            source=kept_from, mask=mask, over_time=mask_over_time, dilations=dilations, trajectory=trajectory
        )
        start = plan.start(strength, inherit_noise)
        schedule = facts.schedule(steps, spacing, terminal)
        count = steps_of_strength(steps, strength)
        if count == 0:
            text = f"strength {strength:g} of {steps} steps leaves no step: the latent is passed on as it is"
            logging.getLogger(LOGGER).warning(text)
            return io.NodeOutput(latent, ui=report(cls, text))
        window = schedule.window(steps - count, steps)
        guidance = Guidance(model, positive, negative, cfg)
        noise = initial_noise(latent, samples, seed)
        result, evaluations = blend_latent(
            guidance, samples, noise, plan, window, start, eta, seed, latent.get("noise_mask")
        )
        return io.NodeOutput(with_samples(latent, result), ui=report(cls, f"{evaluations} model evaluations"))
