"""Tiny models in this process, for tests of host/ and nodes/."""
# ruff: noqa: E402  (the device is chosen before the rest of ComfyUI is imported)

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any

import pytest
import torch
from comfy.cli_args import args
from node_call import run_node
from retrace_pack.inversion.trajectory import InversionFacts, ModelFacts, plain_trajectory

# Before any module of ComfyUI asks for the device: parity is measured on the CPU in float32, also where there is a GPU.
args.cpu = True
# The attention that ComfyUI takes on a GPU, half again as fast here; servers that tests start for themselves have the CPU's.
args.use_pytorch_cross_attention = True

import ball
import folder_paths
import miniatures
from random_models import random_conditioning, random_model
from retrace_pack.host.after_step import add_change
from retrace_pack.host.guided import Guidance
from retrace_pack.host.null_text import optimize
from retrace_pack.inversion.null_text import NullTextOptions
from retrace_pack.measuring.compare import compare_images
from retrace_pack.nodes.editing import RetraceEditSample
from retrace_pack.nodes.exact_inversion import RetraceEditFriendlyInvert, RetraceExactInvert
from retrace_pack.nodes.inversion import RetraceDDIMInvert
from retrace_pack.nodes.null_text import RetraceNullTextOptimize
from retrace_pack.nodes.trajectory import RetraceTrajectoryLatent

import nodes


@pytest.fixture(autouse=True)
def inference_mode():
    """ComfyUI executes everything under inference mode, and so do these tests."""
    with torch.inference_mode():
        yield


@pytest.fixture
def folders(tmp_path):
    """ComfyUI's input, output and temp folders, empty."""
    before = (
        folder_paths.get_output_directory(),
        folder_paths.get_input_directory(),
        folder_paths.get_temp_directory(),
    )
    for name in ("output", "input", "temp"):
        (tmp_path / name).mkdir()
    folder_paths.set_output_directory(str(tmp_path / "output"))
    folder_paths.set_input_directory(str(tmp_path / "input"))
    folder_paths.set_temp_directory(str(tmp_path / "temp"))
    yield tmp_path
    folder_paths.set_output_directory(before[0])
    folder_paths.set_input_directory(before[1])
    folder_paths.set_temp_directory(before[2])


@pytest.fixture(scope="session")
def models():
    """Layout -> (MODEL, CONDITIONING) with random weights, created once."""
    made = {}

    def get(layout: str):
        if layout not in made:
            model = random_model(layout)
            made[layout] = (model, random_conditioning(model))
        return made[layout]

    return get


@pytest.fixture
def latent():
    """A LATENT of two images, 16 x 16."""
    return {"samples": torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(0))}


@dataclass(frozen=True)
class Task:
    """A model, the prompts of a test and the latents of an image (or two), to invert and to continue."""

    model: Any
    source: Any
    negative: Any
    samples: torch.Tensor
    steps: int
    iterations: int = 0
    """Of the fixed point, in the plain inversion."""
    target: Any = None
    vae: Any = None
    cfg: float = 7.5

    def invert(self, terminal: str = "clean"):
        """The plain trajectory."""
        return run_node(
            RetraceDDIMInvert,
            model=self.model,
            positive=self.source,
            negative=self.source,
            latent={"samples": self.samples},
            steps=self.steps,
            fixed_point_iterations=self.iterations,
            terminal=terminal,
        ).result[0]

    def exact(self, method: str, cfg: float = 1.0):
        return run_node(
            RetraceExactInvert,
            model=self.model,
            positive=self.source,
            negative=self.negative,
            latent={"samples": self.samples},
            method=method,
            steps=self.steps,
            cfg=cfg,
        ).result[0]

    def edit_friendly(self, solver: str, cfg: float = 3.5):
        return run_node(
            RetraceEditFriendlyInvert,
            model=self.model,
            positive=self.source,
            negative=self.negative,
            latent={"samples": self.samples},
            steps=self.steps,
            cfg=cfg,
            solver=solver,
        ).result[0]

    def optimize(
        self, trajectory, method: str = "fast", callback: Callable[..., object] = lambda *said: None, **options
    ):
        """Null-text optimization: the optimized trajectory, and the record that the node only draws."""
        guidance = Guidance(self.model, self.source, self.negative, self.cfg)
        return optimize(
            guidance, trajectory, NullTextOptions(**{"cfg": self.cfg, "inner_steps": 3, **options}), method, callback
        )

    def optimize_node(self, trajectory, **changes):
        """(Optimized trajectory, negative, plot of the losses)."""
        inputs = {
            "cfg": self.cfg, "inner_steps": 3, "learning_rate": 0.01, "epsilon": 1e-5, "method": "fast",
            "residual": False,
        }  # fmt: skip
        return run_node(
            RetraceNullTextOptimize,
            model=self.model,
            trajectory=trajectory,
            positive=self.source,
            negative=self.negative,
            **{**inputs, **changes},
        ).result

    def edit(self, trajectory, positive=None, **changes):
        """Edit Sample's two LATENTs as tensors, (edit, source); null embeddings replace the negative."""
        inputs = {
            "cfg": self.cfg, "start_step": 0, "hold_source": True, "pull_back": 0.0, "pull_back_below": 999,
            "pull_back_quantile": 0.7, "pull_back_dilation": 0, "source": None,
            "negative": self.negative if trajectory.null_text is None else None,
        }  # fmt: skip
        output = run_node(
            RetraceEditSample,
            model=self.model,
            trajectory=trajectory,
            positive=positive or self.source,
            **{**inputs, **changes},
        )
        return tuple(latent["samples"] for latent in output.result)

    def k_sampler(self, trajectory, negative=None, cfg: float | None = None, sampler_name: str = "euler", start_step=0):
        """Continue a plain trajectory with KSamplerAdvanced."""
        latent = run_node(RetraceTrajectoryLatent, trajectory=trajectory, start_step=start_step).result[0]
        return nodes.KSamplerAdvanced().sample(
            self.model, "disable", 0, trajectory.steps, cfg or self.cfg, sampler_name, "ddim_uniform", self.source,
            negative or self.negative, latent, start_step, 10000, "disable",
        )[0]["samples"]  # fmt: skip

    def hooked(self, *hooks):
        """With functions for Edit Sample to call after each step."""
        model = self.model.clone()
        for hook in hooks:
            add_change(model, hook)
        return replace(self, model=model)

    def error(self, samples) -> float:
        """Mean squared error against the image."""
        return float((samples - self.samples).square().mean())

    @cached_property
    def round_trip(self):
        return self.vae.decode(self.samples)

    def psnr(self, samples) -> float:
        """PSNR against the image's round trip through the VAE, in dB."""
        return compare_images(self.vae.decode(samples), self.round_trip).mean_psnr


@pytest.fixture(scope="session")
def random_task(models):
    """(Layout, number of images) -> Task with random weights."""

    def make(layout: str = "sd15", images: int = 1):
        model = models(layout)[0]
        source, target, negative = (random_conditioning(model, seed) for seed in (1, 2, 3))
        # As large as the latents of pictures, which decibels are measured against.
        samples = 5 * torch.randn(images, 4, 8, 8, generator=torch.Generator().manual_seed(0))
        return Task(model, source, negative, samples, steps=8, iterations=2, target=target)

    return make


@pytest.fixture
def task(random_task):
    return random_task()


@pytest.fixture(scope="session")
def short_task(models):
    """Layout -> Task with random weights and few steps, for an optimization."""

    def make(layout: str = "sd15"):
        model = models(layout)[0]
        source, negative = random_conditioning(model, 1), random_conditioning(model, 2)
        samples = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
        return Task(model, source, negative, samples, steps=5)

    return make


@pytest.fixture(scope="session")
def trained():
    """Name of a trained miniature -> Task with the part of a photo where its ball is, created once."""

    @cache
    def get(name: str = "tiny_sd15"):
        model, clip, vae = miniatures.load(name)
        part = ball.photo()[ball.PART]
        with torch.inference_mode():
            source, target, empty = (
                clip.encode_from_tokens_scheduled(clip.tokenize(text)) for text in (ball.BEFORE, ball.AFTER, "")
            )
            samples = vae.encode(torch.from_numpy(part[None].copy()).float() / 255)
        # ddim_uniform is the leading grid where the number of steps divides 1000.
        return Task(model, source, empty, samples, steps=10, target=target, vae=vae)

    return get


@pytest.fixture
def trajectory():
    """Five steps of random states, not made by a model."""
    latents = torch.randn(6, 1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    model = ModelFacts(torch.linspace(0.03, 14.6, 1000), "epsilon", "SD15", "weights")
    facts = InversionFacts("ddim", 5, "leading", "clean", 1.0, "prompts")
    return plain_trajectory(latents, torch.linspace(0, 14, 6), torch.zeros(5), model, facts)
