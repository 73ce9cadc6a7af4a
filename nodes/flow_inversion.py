"""Inversion of flow models with a choice of solvers and of levels."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..host.embedded_guidance import takes_guidance, with_guidance
from ..host.guided import Guidance
from ..host.inversion import invert
from ..host.latents import image_samples, without_noise_mask
from ..host.model_facts import model_facts
from ..host.report import absent_output, report, step_teller
from ..host.trajectory_noise import TrajectoryNoise, trajectory_state
from ..inversion.facts import ModelFacts
from ..inversion.methods import methods_of, settings_of
from ..samplers.schedule import given_schedule, simple_schedule
from .inputs import (
    RetraceTrajectory,
    cfg_input,
    latent_input,
    negative_input,
    positive_input,
    require_used,
    seed_input,
    setting_input,
    steps_input,
)
from .node import RetraceNode

SETTINGS = settings_of("flow")
NO_LATENT = "The last state is noise alone, which no LATENT can carry on a flow model: use the noise output, with the clean latent."


class RetraceFlowInvert(RetraceNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RetraceFlowInvert",
            display_name="Flow Invert (Retrace)",
            category="Retrace/Invert",
            description="Inverts an image on a flow model (Flux, SD3, Qwen-Image, Z-Image, ...) with a choice of solvers, and "
            "keeps every state. Edit Sample walks back exactly under the same prompt, and edits under another one.",
            search_aliases=[
                "invert",
                "flux inversion",
                "rf inversion",
                "rf-solver",
                "fireflow",
                "uni-inv",
                "dnaedit",
                "unsample",
                "unsampler",
                "image to noise",
            ],
            inputs=[
                io.Model.Input(
                    "model", tooltip="A flow model (Flux, SD3, Qwen-Image, Z-Image, ...), including LoRAs and patches."
                ),
                positive_input("A prompt that describes the image as it is."),
                negative_input("Used only when cfg is not 1; usually the empty prompt."),
                latent_input(),
                io.Combo.Input(
                    "solver",
                    options=list(methods_of("flow")),
                    default="euler",
                    tooltip="euler: one model call a step. uni: guesses the next state first, more accurate for one more call in "
                    "all. midpoint (RF-Solver): two calls a step. fireflow: nearly midpoint at one call. dna: starts toward "
                    "noise from the seed.",
                ),
                steps_input(28),
                cfg_input(1.0, "Guidance scale during inversion. Keep 1; errors grow with it."),
                io.Float.Input(
                    "guidance",
                    default=1.0,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    tooltip="Embedded guidance while inverting, for models distilled for it (Flux-dev). 1 follows the model's own "
                    "flow; set the edit's with FluxGuidance.",
                ),
                setting_input(
                    "fixed_point_iterations",
                    SETTINGS["fixed_point_iterations"],
                    "euler: each iteration adds one model call a step and brings the state nearer to the one from which a stock "
                    "sampler leads back. Edit Sample does not need it.",
                ),
                setting_input(
                    "acceleration",
                    SETTINGS["acceleration"],
                    "How the iterations are combined. anderson helps most where they converge slowly.",
                    advanced=True,
                ),
                seed_input("For dna: the noise that the first step goes toward."),
                io.Sigmas.Input(
                    "sigmas",
                    optional=True,
                    tooltip="Levels from noise to image that replace steps, from any scheduler. They must end at 0.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
            outputs=[
                RetraceTrajectory.Output("trajectory", tooltip="All states from the image to the noise."),
                io.Noise.Output(
                    "noise", tooltip="The noise end for SamplerCustomAdvanced, with the clean latent as latent_image."
                ),
                io.Latent.Output(
                    "latent",
                    tooltip="The last state as a LATENT with leftover noise; exists only if sigmas begin below 1.",
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
        solver: str,
        steps: int,
        cfg: float,
        guidance: float,
        fixed_point_iterations: int,
        acceleration: str,
        seed: int,
        sigmas: Tensor | None = None,
    ) -> io.NodeOutput:
        given = {"fixed_point_iterations": fixed_point_iterations, "acceleration": acceleration}
        require_used(given, solver, SETTINGS)
        facts = model_facts(model)
        _require_flow(facts)
        if takes_guidance(model):
            positive, negative = (with_guidance(prompt, guidance) for prompt in (positive, negative))
        elif guidance != 1:
            raise ValueError(
                f"guidance is {guidance:g}, but the model has no guidance embedded; set guidance to 1, and use cfg with a negative."
            )
        samples = image_samples(latent, model)
        schedule = simple_schedule(facts.sigma_table, steps) if sigmas is None else given_schedule(sigmas)
        walk = Guidance(model, positive, negative, cfg)
        trajectory = invert(walk, samples, schedule, facts, solver, given, step_teller(cls, schedule.steps), seed)
        levels, carrier = trajectory.remaining_sigmas(0), without_noise_mask(latent)
        is_noise = facts.path.a(levels[0]) == 0
        leftover = absent_output(NO_LATENT) if is_noise else trajectory_state(carrier, trajectory, 0)
        text = f"{trajectory.inversion.unet_evaluations} model evaluations, largest offset {trajectory.largest_offset():.2g}"
        if fixed_point_iterations:
            text += f", largest residual {float(trajectory.residuals.max()):.2e}"
        noise = TrajectoryNoise(trajectory, 0, cls.title())
        return io.NodeOutput(trajectory, noise, leftover, levels, ui=report(cls, text))


def _require_flow(facts: ModelFacts) -> None:
    if facts.prediction != "flow":
        raise ValueError(
            f"the model's prediction is {facts.prediction!r}, but these solvers are for flow models (Flux, SD3, ...); "
            "use DDIM Invert."
        )
