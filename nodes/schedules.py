"""Schedules: the noise levels of DDIM as SIGMAS, and a plot of them."""

from __future__ import annotations

from comfy_api.latest import io, ui

from ..host.model_facts import model_facts
from ..measuring.plots import schedule_plot
from ..samplers.schedule import Spacing, Terminal
from .inputs import end_step_input, last_step, model_input, spacing_input, start_step_input, steps_input, terminal_input
from .node import RetraceNode


class RetraceDDIMScheduler(RetraceNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RetraceDDIMScheduler",
            display_name="DDIM Scheduler (Retrace)",
            category="Retrace/Advanced",
            description="The noise levels of a DDIM schedule, looked up in the model's own noise schedule, for any "
            "sampler that takes SIGMAS. With the settings of DDIM Invert you get the levels that the "
            "inversion visited.",
            search_aliases=["ddim", "sigmas", "scheduler", "leading", "trailing", "linspace"],
            inputs=[
                model_input(),
                steps_input(),
                spacing_input(),
                terminal_input(),
                start_step_input("Number of noisiest steps to skip."),
                end_step_input(),
            ],
            outputs=[
                io.Sigmas.Output("sigmas", tooltip="The levels from noise to image, one more than the number of steps.")
            ],
        )

    @classmethod
    def execute(
        cls, model: io.Model.Type, steps: int, spacing: Spacing, terminal: Terminal, start_step: int, end_step: int
    ) -> io.NodeOutput:
        schedule = model_facts(model).schedule(steps, spacing, terminal).window(start_step, last_step(end_step, steps))
        return io.NodeOutput(schedule.sigmas)


class RetraceSchedulePlot(RetraceNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RetraceSchedulePlot",
            display_name="Schedule Plot (Retrace)",
            category="Retrace/Advanced",
            description="Plots the model's signal level (square root of alpha bar) and noise level (sigma) against "
            "the timestep, with the steps of a DDIM schedule as dots.",
            search_aliases=["plot", "alphas", "sigmas", "noise schedule", "curve"],
            inputs=[model_input(), steps_input(), spacing_input(), terminal_input()],
            outputs=[io.Image.Output("image", tooltip="The plot.")],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, model: io.Model.Type, steps: int, spacing: Spacing, terminal: Terminal) -> io.NodeOutput:
        facts = model_facts(model)
        image = schedule_plot(facts.sigma_table, facts.schedule(steps, spacing, terminal), facts.path)
        return io.NodeOutput(image, ui=ui.PreviewImage(image, cls=cls))
