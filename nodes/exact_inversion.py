"""Inversions that are exact at any guidance: with a pair of states, or with the noise of every step."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..host.guided import Guidance
from ..host.inversion import invert
from ..host.latents import image_samples
from ..host.model_facts import model_facts
from ..host.report import report, step_teller
from ..inversion.methods import methods_of, settings_of
from ..inversion.trajectory import Trajectory
from ..samplers.schedule import Spacing, Terminal
from .inputs import (
    RetraceTrajectory,
    cfg_input,
    latent_input,
    model_input,
    negative_input,
    positive_input,
    seed_input,
    setting_input,
    spacing_input,
    steps_input,
    terminal_input,
)
from .node import RetraceNode

SETTINGS = settings_of("exact")
(NOISE_MAPS,) = methods_of("noise maps")
NOISE_SETTINGS = settings_of("noise maps")


class RetraceExactInvert(RetraceNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RetraceExactInvert",
            display_name="Exact Invert (Retrace)",
            category="Retrace/Invert",
            description="Inverts with two coupled states, so that reconstruction is exact at any cfg. Continue with "
            "Edit Sample at the same cfg.",
            search_aliases=["invert", "edict", "bdia", "belm", "o-belm", "exact inversion", "image to noise"],
            inputs=[
                model_input(),
                positive_input("A prompt that describes the image as it is."),
                negative_input("Used only when cfg is not 1; usually the empty prompt."),
                latent_input(),
                io.Combo.Input(
                    "method",
                    options=list(methods_of("exact")),
                    default="edict",
                    tooltip="edict: two model calls a step; best for edits. o-belm and bdia: one call, like DDIM, "
                    "but strongly guided edits break up.",
                ),
                steps_input(),
                cfg_input(
                    1.0,
                    "Guidance scale during inversion; sample with the same value. Low values keep the noise "
                    "close to what the model expects.",
                ),
                setting_input(
                    "mixing",
                    SETTINGS["mixing"],
                    "edict: how much of itself each state keeps when the two are mixed.",
                    advanced=True,
                ),
                setting_input(
                    "gamma",
                    SETTINGS["gamma"],
                    "bdia: weight of the previous state. Keep 1: with gamma 0.5 each inversion step doubles an "
                    "error, and the noise blows up.",
                    advanced=True,
                ),
                spacing_input(),
                terminal_input(),
            ],
            hidden=[io.Hidden.unique_id],
            outputs=[RetraceTrajectory.Output("trajectory", tooltip="Both states at every level, for Edit Sample.")],
        )

    @classmethod
    def execute(
        cls,
        model: io.Model.Type,
        positive: list[Any],
        negative: list[Any],
        latent: dict[str, Any],
        method: str,
        steps: int,
        cfg: float,
        mixing: float,
        gamma: float,
        spacing: Spacing,
        terminal: Terminal,
    ) -> io.NodeOutput:
        facts = model_facts(model)
        samples = image_samples(latent, model)
        guidance = Guidance(model, positive, negative, cfg)
        schedule = facts.schedule(steps, spacing, terminal)
        given = {"mixing": mixing, "gamma": gamma}
        trajectory = invert(guidance, samples, schedule, facts, method, given, step_teller(cls, steps))
        return io.NodeOutput(trajectory, ui=report(cls, _evaluations(trajectory)))


class RetraceEditFriendlyInvert(RetraceNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RetraceEditFriendlyInvert",
            display_name="Edit Friendly Invert (Retrace)",
            category="Retrace/Invert",
            description="Edit-friendly DDPM inversion: adds noise to the image at every level and stores the noise "
            "that leads from one level to the next. Reconstructs exactly at any cfg, without "
            "optimization. Continue with Edit Sample.",
            search_aliases=["invert", "edit friendly", "ddpm inversion", "ledits", "noise maps", "image to noise"],
            inputs=[
                model_input(),
                positive_input("A prompt that describes the image as it is."),
                negative_input("Used only when cfg is not 1; usually the empty prompt."),
                latent_input(),
                seed_input(
                    "For the noise at the levels. Each seed gives a different edit and the same reconstruction."
                ),
                steps_input(),
                cfg_input(3.5, "Guidance scale during inversion. The edit may use a higher value, up to about 15."),
                setting_input(
                    "solver",
                    NOISE_SETTINGS["order"],
                    "ddpm: the published method, 50 to 100 steps. dpm++ 2m: the second-order variant of LEDITS++, "
                    "about 20 steps.",
                ),
                setting_input(
                    "eta",
                    NOISE_SETTINGS["eta"],
                    "ddpm: amount of noise in each step; the paper uses 1. dpm++ 2m requires 1.",
                    advanced=True,
                ),
                spacing_input(),
                terminal_input(),
            ],
            hidden=[io.Hidden.unique_id],
            outputs=[
                RetraceTrajectory.Output("trajectory", tooltip="The states and their noise maps, for Edit Sample.")
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
        solver: str,
        eta: float,
        spacing: Spacing,
        terminal: Terminal,
    ) -> io.NodeOutput:
        facts = model_facts(model)
        samples = image_samples(latent, model)
        guidance = Guidance(model, positive, negative, cfg)
        schedule = facts.schedule(steps, spacing, terminal)
        given = {"order": solver, "eta": eta}
        trajectory = invert(guidance, samples, schedule, facts, NOISE_MAPS, given, step_teller(cls, steps), seed)
        return io.NodeOutput(trajectory, ui=report(cls, _evaluations(trajectory)))


def _evaluations(trajectory: Trajectory) -> str:
    return f"{trajectory.inversion.unet_evaluations} model evaluations"
