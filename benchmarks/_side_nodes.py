"""The tasks with ComfyUI's nodes: core's, and this pack's. Each function prepares what an executor caches, and returns the run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from _side_models import FACTOR, Pair, Task
from torch import Tensor

Run = Callable[[], Tensor]


def first(output: Any) -> Any:  # noqa: ANN401
    """The first output of a node."""
    return output.result[0]


def prompts(pair: Pair) -> dict[str, Any]:
    return {"positive": [[pair.positive, {}]], "negative": [[pair.negative, {}]]}


def core_inversion(pair: Pair, task: Task) -> Run:
    """What people do without a pack: euler over flipped sigmas.

    It evaluates the network at the level it leaves, and keeps no states.
    """
    from comfy_extras.nodes_custom_sampler import BasicScheduler, FlipSigmas, KSamplerSelect, SamplerCustom

    latent = {"samples": task.clean.cpu() / FACTOR}
    sampler = first(KSamplerSelect.execute("euler"))

    def run() -> Tensor:
        flipped = first(FlipSigmas.execute(first(BasicScheduler.execute(pair.model, "ddim_uniform", task.steps, 1.0))))
        found = SamplerCustom.execute(
            pair.model, False, 0, 1.0, **prompts(pair), sampler=sampler, sigmas=flipped, latent_image=latent
        )
        return first(found)["samples"] * FACTOR / (1 + flipped[-1] ** 2).sqrt()

    return run


def inversion(pair: Pair, task: Task) -> Run:
    """All states [N + 1, B, 4, H, W]."""
    from node_call import run_node
    from retrace_pack.nodes.inversion import RetraceDDIMInvert  # pyright: ignore[reportMissingImports]

    given = {**prompts(pair), "latent": {"samples": task.clean.cpu() / FACTOR}, "steps": task.steps}

    def run() -> Tensor:
        trajectory = first(run_node(RetraceDDIMInvert, model=pair.model, **given))
        levels = trajectory.sigmas.view(-1, 1, 1, 1, 1)
        return trajectory.latents * FACTOR / (1 + levels**2).sqrt()

    return run


def core_sampling(pair: Pair, task: Task) -> Run:
    """KSampler (Advanced), whose euler takes DDIM's steps."""
    import nodes

    given, latent, advanced = prompts(pair), {"samples": noisy(pair, task)}, nodes.KSamplerAdvanced()
    start = (task.steps, task.cfg, "euler", "ddim_uniform", given["positive"], given["negative"], latent)
    return lambda: advanced.sample(pair.model, "disable", 0, *start, 0, 10000, "disable")[0]["samples"] * FACTOR


def sampling(pair: Pair, task: Task) -> Run:
    from node_call import run_node
    from retrace_pack.nodes.ddim_sample import RetraceDDIMSample  # pyright: ignore[reportMissingImports]

    given = {**prompts(pair), "latent": {"samples": noisy(pair, task)}, "steps": task.steps, "cfg": task.cfg}
    return lambda: first(run_node(RetraceDDIMSample, model=pair.model, **given))["samples"] * FACTOR


def noisy(pair: Pair, task: Task) -> Tensor:
    """The noise as the LATENT of the first level, as an inversion hands it on."""
    from comfy.samplers import calculate_sigmas

    sigma = calculate_sigmas(pair.model.get_model_object("model_sampling"), "ddim_uniform", task.steps)[0]
    return task.noise.cpu() * (1 + sigma**2).sqrt() / FACTOR
