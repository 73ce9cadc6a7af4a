"""The tasks with ComfyUI's nodes: core's, and this pack's. Each function prepares what an executor caches, and returns the run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from _side_models import CROSS_STEPS, FACTOR, INNER_STEPS, SELF_STEPS, SOURCE, TARGET, Pair, Task, box
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


def core_inpainting(pair: Pair, task: Task) -> Run:
    """It starts from the noised picture inside the mask, too."""
    import nodes

    masked = nodes.SetLatentNoiseMask().set_mask({"samples": task.clean.cpu() / FACTOR}, box(task))[0]
    given = {**prompts(pair), "steps": task.steps, "cfg": task.cfg, "seed": task.seed}
    chosen = {"sampler_name": "euler", "scheduler": "ddim_uniform", "latent_image": masked}
    return lambda: nodes.KSampler().sample(pair.model, **given, **chosen)[0]["samples"] * FACTOR


def inpainting(pair: Pair, task: Task) -> Run:
    from node_call import run_node
    from retrace_pack.nodes.inpainting import RetraceLatentBlendSample  # pyright: ignore[reportMissingImports]

    given = {**prompts(pair), "steps": task.steps, "cfg": task.cfg, "seed": task.seed, "mask": box(task)}
    latent = {"samples": task.clean.cpu() / FACTOR}

    def run() -> Tensor:
        painted = run_node(RetraceLatentBlendSample, model=pair.model, latent=latent, **given)
        return first(painted)["samples"] * FACTOR

    return run


def null_text(pair: Pair, task: Task, method: str) -> Run:
    """The first INNER_STEPS losses of each step."""
    from node_call import run_node
    from retrace_pack.host.guided import Guidance  # pyright: ignore[reportMissingImports]
    from retrace_pack.host.null_text import optimize  # pyright: ignore[reportMissingImports]
    from retrace_pack.inversion.null_text import NullTextOptions  # pyright: ignore[reportMissingImports]
    from retrace_pack.nodes.inversion import RetraceDDIMInvert  # pyright: ignore[reportMissingImports]

    given, latent = prompts(pair), {"samples": task.clean.cpu() / FACTOR}
    trajectory = first(run_node(RetraceDDIMInvert, model=pair.model, latent=latent, steps=task.steps, **given))
    guidance = Guidance(pair.model, given["positive"], given["negative"], task.cfg)
    # No loss is below the threshold: nobody stops early.
    options = NullTextOptions(cfg=task.cfg, inner_steps=INNER_STEPS, epsilon=-1.0)

    def run() -> Tensor:
        found = optimize(guidance, trajectory, options, method, lambda *_: None)[1]
        return torch.tensor([loss for step in found.losses for loss in step[:INNER_STEPS]])

    return run


def prompt_to_prompt(pair: Pair, task: Task) -> Run:
    """One word replaced: source and target [2, 4, H, W]."""
    from node_call import run_node
    from retrace_pack.nodes.ddim_sample import RetraceDDIMSample  # pyright: ignore[reportMissingImports]
    from retrace_pack.nodes.prompt_to_prompt import RetracePromptToPrompt  # pyright: ignore[reportMissingImports]

    edit = {"cross_replace": CROSS_STEPS, "self_replace": SELF_STEPS, "self_replace_layers": "full"}
    words = {"source_prompt": SOURCE, "target_prompts": TARGET}
    patched, positive = run_node(RetracePromptToPrompt, model=pair.model, clip=pair.clip, **edit, **words).result
    latent = {"samples": noisy(pair, task).repeat(2, 1, 1, 1)}
    given = {**prompts(pair), "positive": positive, "latent": latent, "steps": task.steps, "cfg": task.cfg}
    return lambda: first(run_node(RetraceDDIMSample, model=patched, **given))["samples"] * FACTOR
