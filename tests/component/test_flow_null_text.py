"""Gradients through transformers, and null-text optimization on flows with true guidance."""

from dataclasses import replace

import comfy.model_management
import pytest
import torch
from node_call import run_node
from random_flows import CONFIGS, GUIDED, random_flow, random_image, random_prompt
from retrace_pack.host.gradients import differentiable
from retrace_pack.nodes.editing import RetraceEditSample
from retrace_pack.nodes.inversion import RetraceDDIMInvert
from retrace_pack.nodes.null_text import RetraceNullTextOptimize

STEPS, CFG = 5, 3.0
TRUE_CFG = [*(family for family in CONFIGS if family not in GUIDED), "wan"]


@pytest.fixture(params=TRUE_CFG)
def family(request):
    return request.param


class Question:
    """One pass with everything fixed but the context, and a scalar made of its answer."""

    def __init__(self, family):
        self.network = random_flow(family).model
        self.x, (self.context, settings) = random_image(family), random_prompt(family, 1)[0]
        generator = torch.Generator().manual_seed(1)
        self.weights = torch.randn(self.x.shape, generator=generator, dtype=torch.float64)
        self.extra = {"num_tokens": self.context.shape[1]} if family in ("lumina2", "z_image") else {}
        if family == "chroma":
            self.extra["guidance"] = torch.zeros(1)
        if "pooled_output" in settings:
            self.extra["y"] = settings["pooled_output"]

    def value(self, context):
        given = {
            name: value.clone() if isinstance(value, torch.Tensor) else value for name, value in self.extra.items()
        }
        level = torch.tensor([0.7])
        denoised = self.network.apply_model(self.x.clone(), level, c_crossattn=context, transformer_options={}, **given)
        return (denoised.double() * self.weights.clone()).sum()

    def gradient(self, checkpointed):
        with differentiable([self.network], torch.device("cpu"), checkpointed):
            leaf = self.context.clone().requires_grad_(True)
            return torch.autograd.grad(self.value(leaf), leaf)[0]

    def slope(self, direction, size=0.01):
        ahead, behind = (self.value(self.context + sign * size * direction) for sign in (1, -1))
        return float(ahead - behind) / (2 * size)


def test_the_gradient_is_that_of_finite_differences_and_the_same_when_recomputed(family):
    question = Question(family)
    gradient = question.gradient(checkpointed=False)
    direction = gradient / gradient.std()
    slope = question.slope(direction)
    assert abs(float((gradient * direction).sum()) - slope) < 5e-3 * abs(slope)
    torch.testing.assert_close(question.gradient(checkpointed=True), gradient, rtol=1e-4, atol=1e-6)
    assert not comfy.model_management.in_training and torch.is_inference_mode_enabled()


def optimized(family, model, trajectory, **settings):
    given = {"model": model, "positive": random_prompt(family, 1), "negative": random_prompt(family, 2), "cfg": CFG}
    return run_node(RetraceNullTextOptimize, trajectory=trajectory, **given, **settings).result[:2]


@pytest.mark.parametrize("family", ["schnell", "qwen"])
def test_null_text_brings_the_way_back_nearer_and_its_residual_exactly(family):
    model, image = random_flow(family), random_image(family)
    given = {"positive": random_prompt(family, 1), "negative": random_prompt(family, 2)}
    trajectory = run_node(RetraceDDIMInvert, model=model, latent={"samples": image}, steps=STEPS, **given).result[0]

    def missed(trajectory, **changes):
        inputs = {"model": model, "trajectory": trajectory, "positive": given["positive"], "cfg": CFG, "align": "auto"}
        return float(
            (run_node(RetraceEditSample, **{**inputs, **changes}).result[0]["samples"] - image).square().mean()
        )

    plain = missed(trajectory, negative=given["negative"], align="off")
    found = optimized(family, model, trajectory, inner_steps=10)[0]
    assert missed(found) < 0.95 * plain
    assert missed(optimized(family, model, trajectory, inner_steps=1, residual=True)[0]) < 1e-12
    with pytest.raises(ValueError, match="its null embeddings were optimized for the way back without it"):
        missed(found, align="on")
    # A path that was loaded from an old file has no offsets, and is continued in the same way.
    assert missed(replace(found, asks=None)) == missed(found)


@pytest.mark.parametrize("family", GUIDED)
def test_models_with_embedded_guidance_are_refused(family):
    model = random_flow(family)
    trajectory = run_node(
        RetraceDDIMInvert, model=model, latent={"samples": random_image(family)}, steps=STEPS,
        positive=random_prompt(family, 1), negative=random_prompt(family, 2),
    ).result[0]  # fmt: skip
    with pytest.raises(
        ValueError, match="^Null Text Optimize: the model .* has guidance embedded and knows no negative"
    ):
        optimized(family, model, trajectory)


def test_other_networks_are_refused_before_they_are_evaluated():
    """Anima computes with fused functions that have no gradient, and rewrites its prompt."""
    model = random_flow("anima")
    trajectory = run_node(
        RetraceDDIMInvert, model=model, latent={"samples": random_image("anima")}, steps=1, positive=random_prompt("anima", 1),
        negative=random_prompt("anima", 2),
    ).result[0]  # fmt: skip
    with pytest.raises(
        ValueError, match=r"^Null Text Optimize: the model \(Anima\) is of a kind that null embeddings cannot"
    ):
        optimized("anima", model, trajectory)
