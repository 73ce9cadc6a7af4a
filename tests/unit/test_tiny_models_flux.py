"""tests/tiny_models/flux.py: what the rectified flow and its guidance-distilled sibling learn."""

from dataclasses import replace

import pytest
import torch
from tiny_models import flux
from tiny_models.diffusion import TextToLatent
from tiny_models.latents import Latents
from tiny_models.vocabulary import vocabulary


@pytest.fixture
def learning(monkeypatch):
    """Two latents with captions, a text encoder with random weights and the vocabulary."""
    monkeypatch.setitem(flux.BATCH, 8, 2)
    x = torch.randn(2, flux.CHANNELS, 8, 8, generator=torch.Generator().manual_seed(0))
    words = vocabulary()
    text = TextToLatent("tiny_sd15", len(words.token_ids)).eval().requires_grad_(False)
    captions = ["a photo of a small matte red ball on a stone floor, blue wall"] * 2
    return Latents(x, captions, 0.0, 1.0, torch.ones(2, 1, 8, 8)), text, words


def test_the_flow_learns_noise_minus_picture(learning):
    latents, text, words = learning
    latents = replace(latents, values=latents.values[:1].repeat(2, 1, 1, 1))

    def knows_the_picture(x, s, text):
        level = s[:, None, None, None]
        return (x - (1 - level) * latents.values) / level - latents.values

    loss = flux.loss_on(latents, text, words)(knows_the_picture, 0, torch.Generator().manual_seed(1))
    assert loss < 1e-9


def test_a_sibling_without_guidance_is_the_teacher_at_scale_one(learning, monkeypatch):
    monkeypatch.setattr(flux, "GUIDANCE_RANGE", (1.0, 1.0))
    teacher = flux.FlowTransformer(guided=False).eval().requires_grad_(False)
    model = flux.guided_from(teacher)
    last = model.transformer.time_text_embed.guidance_embedder.linear_2
    loss_of = flux.distillation_loss_on(teacher, *learning)
    assert loss_of(model, 0, torch.Generator().manual_seed(1)) > 1e-6
    torch.nn.init.zeros_(last.weight)
    torch.nn.init.zeros_(last.bias)
    assert loss_of(model, 0, torch.Generator().manual_seed(1)) < 1e-9


def test_of_the_sibling_only_modulations_are_trained():
    model = flux.guided_from(flux.FlowTransformer(guided=False))
    trained = {name.removeprefix("transformer.") for name, value in model.named_parameters() if value.requires_grad}
    assert "time_text_embed.guidance_embedder.linear_1.weight" in trained
    assert "single_transformer_blocks.5.norm.linear.weight" in trained
    assert not [name for name in trained if "attn" in name or "ff" in name or "proj" in name]
    print(
        sum(value.numel() for value in model.parameters()),
        sum(value.numel() for value in model.parameters() if value.requires_grad),
    )
