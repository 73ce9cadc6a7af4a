"""Inversion: from an image's latent to its trajectory."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..host.guided import Guidance
from ..host.inversion import invert
from ..host.latents import image_samples, without_noise_mask
from ..host.model_facts import model_facts
from ..host.report import absent_output, report, step_teller
from ..host.trajectory_noise import trajectory_state
from ..inversion.methods import methods_of, settings_of
from ..samplers.schedule import Spacing, Terminal
from .inputs import (
    RetraceTrajectory,
    latent_input,
    model_input,
    negative_input,
    positive_input,
    require_used,
    setting_input,
    spacing_input,
    steps_input,
    terminal_input,
)
from .node import RetraceNode

SETTINGS = settings_of("ddim")
NO_LATENT = (
    "The last state of a flow model is noise alone, which no LATENT can carry: connect the trajectory to Edit Sample, or to "
    "Trajectory Noise for a stock sampler."
)


class RetraceDDIMInvert(RetraceNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RetraceDDIMInvert",
            display_name="DDIM Invert: unsample (Retrace)",
            category="Retrace/Invert",
            description="Inverts an image: runs DDIM backward to noise and keeps every state. Sampled forward "
            "again, the same prompt at cfg 1 gives the image back, and another prompt gives an edit of "
            "it.",
            search_aliases=[
                "invert",
                "ddim inversion",
                "unsample",
                "unsampler",
                "img2img alternative",
                "image to noise",
            ],
            inputs=[
                model_input(),
                positive_input("A prompt that describes the image as it is."),
                negative_input("Used only when cfg is not 1; usually the empty prompt."),
                latent_input(),
                steps_input(),
                io.Float.Input(
                    "cfg",
                    default=1.0,
                    min=0.0,
                    max=30.0,
                    step=0.1,
                    tooltip="Guidance scale during inversion. Keep 1: guidance amplifies the error of every "
                    "inversion step, so the reconstruction misses the image.",
                ),
                setting_input(
                    "fixed_point_iterations",
                    SETTINGS["fixed_point_iterations"],
                    "0 is plain DDIM inversion. Each iteration adds one model call a step and makes the "
                    "reconstruction more accurate: 2 to 4 make it nearly exact at cfg 1.",
                ),
                spacing_input(),
                terminal_input(),
                setting_input(
                    "acceleration",
                    SETTINGS["acceleration"],
                    "How the iterations are combined. anderson helps most where plain iterations converge slowly or "
                    "oscillate (cfg above 1, high noise); two_point and mean average them, as in AIDI and ReNoise.",
                    optional=True,
                    advanced=True,
                ),
                io.Combo.Input(
                    "method",
                    options=list(methods_of("ddim")),
                    default="ddim",
                    optional=True,
                    advanced=True,
                    tooltip="ddim: sample with DDIM or euler. dpm++ 2m and res 2m are second-order: more accurate in half the "
                    "steps; sample with dpmpp_2m or res_multistep over the same sigmas, or with Edit Sample.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
            outputs=[
                RetraceTrajectory.Output("trajectory", tooltip="All states from the image to the noise."),
                io.Latent.Output(
                    "noise",
                    tooltip="The last state: the noise that encodes this image. Flow models have none: use Trajectory Noise.",
                ),
                io.Sigmas.Output("sigmas", tooltip="The levels from that noise down to the image, for any sampler."),
            ],
        )

    @classmethod
    def execute(
        cls,
        model: io.Model.Type,
        positive: list[Any],
        negative: list[Any],
        latent: dict[str, Any],
        steps: int,
        cfg: float,
        fixed_point_iterations: int,
        spacing: Spacing,
        terminal: Terminal,
        acceleration: str = "none",
        method: str = "ddim",
    ) -> io.NodeOutput:
        given = {"fixed_point_iterations": fixed_point_iterations, "acceleration": acceleration}
        require_used(given, method, SETTINGS)
        facts = model_facts(model)
        samples = image_samples(latent, model)
        schedule = facts.schedule(steps, spacing, terminal)
        guidance = Guidance(model, positive, negative, cfg)
        trajectory = invert(guidance, samples, schedule, facts, method, given, step_teller(cls, steps))
        sigmas = trajectory.remaining_sigmas(0)
        carrier = without_noise_mask(latent)
        noise = absent_output(NO_LATENT) if facts.path.a(sigmas[0]) == 0 else trajectory_state(carrier, trajectory, 0)
        text = (
            f"{trajectory.inversion.unet_evaluations} model evaluations, largest offset {trajectory.largest_offset():.2g}, "
            f"largest residual {float(trajectory.residuals.max()):.2e}"
        )
        return io.NodeOutput(trajectory, noise, sigmas, ui=report(cls, text))
