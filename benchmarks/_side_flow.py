"""The euler steps of a rectified flow: Flux' layout at the miniature's size, with random weights, under one prompt."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from _contest import Contender
from torch import Tensor, nn

OURS, THEIRS = "bare calls, ComfyUI's network", "bare calls, diffusers' network"
Run = Callable[[], Tensor]


@dataclass(frozen=True)
class Flow:
    """`theirs` is diffusers' transformer; `prompt` and `pooled` are what either network gets, [1, 77, 128] and [1, 128]."""

    model: Any
    theirs: nn.Module
    prompt: Tensor
    pooled: Tensor
    noise: Tensor
    seed: int = 0

    @property
    def network(self) -> nn.Module:
        """ComfyUI's."""
        return self.model.model.diffusion_model

    @property
    def conditioning(self) -> list[Any]:
        return [[self.prompt, {"pooled_output": self.pooled}]]


def random_flow(size: int, batch: int) -> Flow:
    """Both networks have the weights that are rounded to half precision in the file."""
    import comfy.sample
    import comfy.sd
    from random_flux import write_random_flux
    from safetensors.torch import save_file
    from tiny_models import flux, stored
    from tiny_models.loader import layouts

    layouts.register()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_random_flux(folder)
        save_file(stored.join(folder, "tiny_flux"), folder / "joined.safetensors")
        loaded: Any = comfy.sd.load_checkpoint_guess_config(str(folder / "joined.safetensors"))
    model, clip = loaded[:2]
    theirs = flux.FlowTransformer(guided=False).half().float().transformer.eval().requires_grad_(False)
    entry = clip.encode_from_tokens_scheduled(clip.tokenize("a red cube"))[0]
    prompt, pooled = (each.to(model.load_device) for each in (entry[0], entry[1]["pooled_output"]))
    noise: Any = comfy.sample.prepare_noise(torch.zeros(batch, 16, size // 8, size // 8), Flow.seed)
    return Flow(model, theirs.to(model.load_device), prompt, pooled, noise.to(model.load_device))


def flow_euler(flow: Flow, steps: int) -> list[Contender]:
    return [
        Contender(OURS, flow.network, bare_calls(flow, steps), OURS),
        Contender(THEIRS, flow.theirs, bare_calls_of_theirs(flow, steps), THEIRS),
        Contender("diffusers", flow.theirs, diffusers(flow, steps), THEIRS),
        Contender("core", flow.network, core(flow, steps), OURS),
        Contender("ours", flow.network, ours(flow, steps), OURS),
    ]


def bare_calls(flow: Flow, steps: int) -> Run:
    level, rows = torch.full((len(flow.noise),), 0.5).to(flow.noise), len(flow.noise)
    prompt, pooled = flow.prompt.expand(rows, -1, -1), flow.pooled.expand(rows, -1)

    def run() -> Tensor:
        for _ in range(steps):
            flow.network(flow.noise, level, context=prompt, y=pooled)
        return flow.noise

    return run


def bare_calls_of_theirs(flow: Flow, steps: int) -> Run:
    tokens, given = packed(flow.noise), inputs(flow)
    level = torch.full((len(tokens),), 0.5).to(tokens)

    def run() -> Tensor:
        for _ in range(steps):
            flow.theirs(tokens, timestep=level, **given)
        return flow.noise

    return run


def diffusers(flow: Flow, steps: int) -> Run:
    """The loop of FluxPipeline: packed once, one call and one step of the scheduler for each level."""
    from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler

    scheduler: Any = FlowMatchEulerDiscreteScheduler(shift=1.0)

    def run() -> Tensor:
        scheduler.set_timesteps(sigmas=torch.linspace(1, 1 / steps, steps).tolist(), device=flow.noise.device)
        x, given = packed(flow.noise), inputs(flow)
        for t in scheduler.timesteps:
            velocity = flow.theirs(x, timestep=t.expand(len(x)) / 1000, **given)[0]
            x = scheduler.step(velocity, t, x, return_dict=False)[0]
        rows, columns = (side // 2 for side in flow.noise.shape[2:])
        return nn.functional.pixel_shuffle(x.transpose(1, 2).unflatten(2, (rows, columns)), 2)

    return run


def packed(x: Tensor) -> Tensor:
    """[B, 16, H, W] -> tokens [B, H W / 4, 64]."""
    return nn.functional.pixel_unshuffle(x, 2).flatten(2).transpose(1, 2)


def inputs(flow: Flow) -> dict[str, Any]:
    """What the transformer gets beside tokens and level."""
    rows, columns = (side // 2 for side in flow.noise.shape[2:])
    places = torch.stack(torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij"), -1).flatten(0, 1)
    return {
        "encoder_hidden_states": flow.prompt.expand(len(flow.noise), -1, -1),
        "pooled_projections": flow.pooled.expand(len(flow.noise), -1),
        "img_ids": nn.functional.pad(places, (1, 0)).to(flow.noise),
        "txt_ids": torch.zeros(flow.prompt.shape[1], 3).to(flow.noise),
        "return_dict": False,
    }


def core(flow: Flow, steps: int) -> Run:
    from comfy_extras.nodes_custom_sampler import (
        BasicGuider,
        BasicScheduler,
        KSamplerSelect,
        RandomNoise,
        SamplerCustomAdvanced,
    )

    noise, sampler, guider = (
        node.execute(*given).result[0]  # pyright: ignore[reportOptionalSubscript]
        for node, given in (
            (RandomNoise, (flow.seed,)), (KSamplerSelect, ("euler",)), (BasicGuider, (flow.model, flow.conditioning)),
        )
    )  # fmt: skip
    latent = empty(flow)

    def run() -> Tensor:
        (sigmas,) = BasicScheduler.execute(flow.model, "simple", steps, 1.0).result  # pyright: ignore
        found: Any = SamplerCustomAdvanced.execute(noise, guider, sampler, sigmas, latent)
        return flow.model.model.process_latent_in(found.result[0]["samples"])

    return run


def ours(flow: Flow, steps: int) -> Run:
    from node_call import run_node
    from retrace_pack.nodes.ddim_sample import RetraceDDIMSample  # pyright: ignore[reportMissingImports]

    prompts = {"positive": flow.conditioning, "negative": flow.conditioning}
    given = {**prompts, "latent": empty(flow), "steps": steps, "seed": flow.seed, "cfg": 1.0, "add_noise": True}

    def run() -> Tensor:
        found: Any = run_node(RetraceDDIMSample, model=flow.model, **given)
        return flow.model.model.process_latent_in(found.result[0]["samples"])

    return run


def empty(flow: Flow) -> dict[str, Tensor]:
    return {"samples": torch.zeros(flow.noise.shape)}
