"""Attention as newer versions of ComfyUI call it: backends that a layer prefers, and containers that a backend may consume.

On ComfyUI 0.30, a short stand-in replaces what comfy/ldm/modules/attention.py has had since.
"""

from __future__ import annotations

from types import SimpleNamespace

import comfy.ldm.modules.attention as core
import pytest
import torch
from node_call import run_node
from random_edits import edit, p2p, rows, sample, strangers
from retrace_pack.nodes.masactrl import RetraceMasaCtrl
from retrace_pack.nodes.plug_and_play import RetracePlugAndPlay


class Container:
    """Core's AttentionTensorContainer: taking the tensor transfers its ownership."""

    def __init__(self, tensor):
        self.tensor = tensor

    def take(self):
        tensor, self.tensor = self.tensor, None
        assert tensor is not None
        return tensor


@pytest.fixture
def newer_host(monkeypatch):
    original = core.optimized_attention

    def optimized(q, k, v, heads, mask=None, preferred_attention=None, transformer_options={}, **more):  # noqa: B006
        override = transformer_options.get("optimized_attention_override")
        in_containers = isinstance(q, Container)
        if override is not None and in_containers and hasattr(override, "container_function"):
            return override.container_function(q, k, v, heads, mask=mask, **more)
        if override is None and preferred_attention is not None and preferred_attention.function is not None:
            return preferred_attention.function(q, k, v, heads, mask=mask, **more)
        tensors = tuple(each.take() for each in (q, k, v)) if in_containers else (q, k, v)
        return original(*tensors, heads, mask=mask, transformer_options=transformer_options, **more)

    def forward(self, x, context=None, value=None, mask=None, transformer_options={}):  # noqa: B006
        context = x if context is None else context
        q, k, v = self.to_q(x), self.to_k(context), self.to_v(context if value is None else value)
        out = core.optimized_attention(
            *map(Container, (q, k, v)), self.heads, mask=mask, attn_precision=self.attn_precision,
            preferred_attention=self.comfy_attention, transformer_options=transformer_options,
        )  # fmt: skip
        return self.to_out(out)

    def used_up(q, k, v, heads, mask=None, scale=1.0, **more):
        tensors = [each.take() if isinstance(each, Container) else each for each in (q, k, v)]
        out = scale * original(*tensors, heads, mask=mask, **more)
        for each in tensors:
            each.zero_()
        return out

    monkeypatch.setattr(core, "AttentionTensorContainer", Container, raising=False)
    monkeypatch.setattr(core, "optimized_attention", optimized)
    monkeypatch.setattr(core, "optimized_attention_masked", optimized)
    monkeypatch.setattr(core.CrossAttention, "forward", forward)
    return used_up


def prefer(model, monkeypatch, function):
    for module in model.model.diffusion_model.modules():
        if isinstance(module, core.CrossAttention):
            monkeypatch.setattr(module, "comfy_attention", SimpleNamespace(function=function), raising=False)
    return model


def overridden(model, function):
    def override(func, *args, **more):
        raise AssertionError("core asks the container function where the override has one")

    override.container_function = function
    patched = model.clone()
    patched.model_options["transformer_options"]["optimized_attention_override"] = override
    return patched


@pytest.mark.parametrize("layout", ["sd15", "sdxl"])
@pytest.mark.parametrize("way", ["preferred", "override"])
def test_an_edit_that_does_nothing_leaves_every_layer_its_backend(models, monkeypatch, newer_host, layout, way):
    def quartered(*args, **more):
        return newer_host(*args, **more, scale=0.25)

    model = prefer(models(layout)[0], monkeypatch, None)
    positive, state = rows(model, 1, 2), strangers()
    plain = sample(model, positive, state)
    chosen = prefer(model, monkeypatch, quartered) if way == "preferred" else overridden(model, quartered)
    expected = sample(chosen, positive, state)
    assert not torch.equal(expected, plain)
    for patched in (
        p2p(chosen, edit(cross=0, own=0.1)),
        run_node(RetraceMasaCtrl, model=chosen, start_layer=0.0).result[0],
        run_node(RetraceMasaCtrl, model=chosen, start_layer=0.6).result[0],
        run_node(RetracePlugAndPlay, model=chosen, attention_fraction=0.1, feature_fraction=0.0).result[0],
    ):
        assert torch.equal(sample(patched, positive, state), expected)


@pytest.mark.parametrize("way", ["preferred", "override"])
def test_a_backend_that_uses_up_its_tensors_takes_none_from_an_edit(models, relative, monkeypatch, newer_host, way):
    model = prefer(models("sd15")[0], monkeypatch, None)
    positive, state, mask = rows(model, 1, 2), strangers(), torch.zeros(1, 16, 16)
    mask[:, 4:12, 4:12] = 1
    edits = [
        lambda of: p2p(of, edit(seed=3)),
        lambda of: run_node(RetraceMasaCtrl, model=of, start_step=0, start_layer=0.0, source_mask=mask).result[0],
        lambda of: run_node(RetracePlugAndPlay, model=of, attention_fraction=1.0, feature_fraction=1.0).result[0],
    ]
    expected = [sample(make(model), positive, state) for make in edits]
    chosen = prefer(model, monkeypatch, newer_host) if way == "preferred" else overridden(model, newer_host)
    for make, plain in zip(edits, expected, strict=True):
        assert relative(sample(make(chosen), positive, state), plain) < 1e-5
