"""Prompt to Prompt together with guidance and adapters that evaluate the network again or replace attention as well.

These are core's own nodes where core has them; for other packs, a short function does what they do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy.model_patcher
import comfy.samplers
import pytest
import torch
from comfy_extras.nodes_custom_sampler import DualCFGGuider
from comfy_extras.nodes_pag import PerturbedAttentionGuidance
from comfy_extras.nodes_perpneg import PerpNeg, PerpNegGuider, perp_neg
from comfy_extras.nodes_sag import SelfAttentionGuidance
from random_edits import edit, p2p, rows, sample, strangers
from retrace_pack.host.plain_attention import plain_attention

SIGMA = 7.0


def denoised(guider: comfy.samplers.CFGGuider, x: torch.Tensor) -> torch.Tensor:
    """The guider's prediction for the state x: a single Euler step to 0 ends there."""
    sigmas, euler = torch.tensor([SIGMA, 0.0]), comfy.samplers.sampler_object("euler")
    return guider.sample(torch.zeros_like(x), x, euler, sigmas, disable_pbar=True)


def predicted(model, positive, negative, cfg: float = 1.0, x: torch.Tensor | None = None) -> torch.Tensor:
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(positive, negative)
    guider.set_cfg(cfg)
    return denoised(guider, strangers() if x is None else x)


def test_a_dual_guider_is_edited_under_its_positive_prompt(models, relative):
    """Core's order is negative, middle, positive."""
    model = models("sd15")[0]
    first, middle, negative = rows(model, 1, 2), rows(model, 3), rows(model, 4)
    patched = p2p(model, edit(seed=3))

    def dual(of):
        return denoised(DualCFGGuider.execute(of, first, middle, negative, 2.0, 3.0, "regular").result[0], strangers())

    expected = 2.0 * (predicted(patched, first, negative) - predicted(model, first, negative))
    assert relative(dual(patched) - dual(model), expected) < 1e-3
    assert float(expected[1].abs().max()) > 0.1


def test_a_negative_that_is_evaluated_alone_is_not_edited(models, relative):
    """Self-attention guidance and the like evaluate one prompt apart; ComfyUI calls it the first one then."""
    model = models("sd15")[0]
    positive, negative = rows(model, 1, 2), rows(model, 4)
    seen = {}

    def evaluate_again(arguments):
        for name in ("cond", "uncond"):
            alone = comfy.samplers.calc_cond_batch(
                arguments["model"],
                [arguments[name]],
                arguments["input"],
                arguments["sigma"],
                arguments["model_options"],
            )
            seen[name] = relative(alone[0], arguments[f"{name}_denoised"])
        return arguments["denoised"]

    patched = p2p(model, edit(seed=3))
    patched.set_model_sampler_post_cfg_function(evaluate_again)
    predicted(patched, positive, negative, cfg=3.0)
    assert seen["cond"] < 1e-4 and seen["uncond"] < 1e-4


@pytest.mark.parametrize("order", ["before", "after"])
def test_self_attention_guidance_adds_what_it_adds_without_the_edit(models, relative, order):
    """Core's node takes its attention and its prediction from the negative, which no Prompt to Prompt changes."""
    model = models("sd15")[0]
    positive, negative = rows(model, 1, 2), rows(model, 4)

    def guided(of):
        return SelfAttentionGuidance.execute(of, 0.5, 2.0).result[0]

    def edited(of):
        return p2p(of, edit(seed=3))

    both = edited(guided(model)) if order == "before" else guided(edited(model))
    added, without = (
        predicted(more, positive, negative, 3.0) - predicted(less, positive, negative, 3.0)
        for more, less in ((both, edited(model)), (guided(model), model))
    )
    assert relative(added, without) < 1e-3 and float(without.abs().max()) > 1e-3


def test_perpendicular_negatives_are_edited_under_their_positive_prompt(models, relative):
    model, x = models("sd15")[0], strangers()
    positive, negative, empty = rows(model, 1, 2), rows(model, 4), rows(model, 5)
    patched = p2p(model, edit(seed=3))
    parts = [predicted(patched, positive, negative), *(predicted(model, each, negative) for each in (negative, empty))]
    expected = perp_neg(x, *parts, 1.0, 3.0)
    by_patch = predicted(PerpNeg.execute(patched, empty, 1.0).result[0], positive, negative, 3.0)
    by_guider = denoised(PerpNegGuider.execute(patched, positive, negative, empty, 3.0, 1.0).result[0], x)
    assert relative(by_patch, expected) < 1e-3 and relative(by_guider, expected) < 1e-3


def test_an_area_of_one_prompt_does_not_mix_up_the_prompts(models, relative):
    """ComfyUI gives the other prompt a copy of the entry that has the area, its name included."""
    model = models("sd15")[0]
    area: dict[str, Any] = {"area": (8, 8, 4, 4)}
    ((embedding, settings),), ((other, others),) = rows(model, 1, 2), rows(model, 4)
    positive, negative = [[embedding, settings]], [[other, others]]
    in_the_area = [[embedding, {**settings, **area}]]
    patched = p2p(model, edit(seed=3))
    at_1, at_3 = (
        predicted(patched, in_the_area, negative, cfg) - predicted(model, in_the_area, negative, cfg)
        for cfg in (1.0, 3.0)
    )
    assert relative(at_3, 3 * at_1) < 1e-3 and float(at_1.abs().max()) > 1e-2
    given = predicted(patched, positive, [[other, {**others, **area}]])
    assert relative(given, predicted(patched, [*positive, *in_the_area], negative)) < 1e-6


def perturbed(model, key: tuple[Any, ...], replacement: Callable[..., torch.Tensor]):
    """Perturbed-attention guidance and similar: the positive prompt once more, with another attention in one block."""

    def guide(arguments):
        options = comfy.model_patcher.set_model_options_patch_replace(
            arguments["model_options"].copy(), replacement, "attn1", *key
        )
        (worse,) = comfy.samplers.calc_cond_batch(
            arguments["model"], [arguments["cond"]], arguments["input"], arguments["sigma"], options
        )
        return arguments["denoised"] + 3.0 * (arguments["cond_denoised"] - worse)

    patched = model.clone()
    patched.set_model_sampler_post_cfg_function(guide)
    return patched


def the_value(q, k, v, options, mask=None):
    return v


GUIDANCES = {
    "core's": lambda model: PerturbedAttentionGuidance.execute(model, 3.0).result[0],
    "of a block": lambda model: perturbed(model, ("middle", 0), the_value),
    "of a layer": lambda model: perturbed(model, ("middle", 0, 0), the_value),
}


@pytest.mark.parametrize("layout", ["sd15", "sdxl"])
@pytest.mark.parametrize("name", GUIDANCES)
def test_perturbed_attention_guidance_and_the_edit_both_act(models, relative, layout, name):
    model, guided = models(layout)[0], GUIDANCES[name]
    positive, negative = rows(model, 1, 2), rows(model, 4)

    def edited(of):
        return p2p(of, edit(cross=0))

    both, only_edited, only_guided = (
        predicted(each, positive, negative, 3.0) for each in (guided(edited(model)), edited(model), guided(model))
    )
    assert relative(both, only_edited) > 1e-3
    assert torch.equal(both[0], only_guided[0]) and relative(both[1], only_guided[1]) > 1e-3
    assert torch.equal(predicted(edited(guided(model)), positive, negative, 3.0), both)


class ReplacedAttention:
    """IPAdapter_plus's object: when a second one finds it under the same key, it calls its `add`."""

    def __init__(self, amount: float) -> None:
        self.amounts = [amount]

    def add(self, amount: float) -> None:
        self.amounts.append(amount)

    def __call__(self, q, k, v, options):
        return plain_attention(q, k, v, options) + sum(self.amounts) * v.mean(1, keepdim=True)


def with_adapter(model, key_length: int):
    adapted = model.clone()
    for block, number, index in (("output", 0, 0), ("output", 1, 0)):
        options = adapted.model_options["transformer_options"]
        replaced = options.get("patches_replace", {}).get("attn2", {})
        key = (block, number, index)[:key_length]
        if key in replaced:
            replaced[key].add(0.3)
        else:
            adapted.set_model_patch_replace(ReplacedAttention(0.3), "attn2", *key)
    return adapted


@pytest.mark.parametrize("key_length", [2, 3])
@pytest.mark.parametrize("layout", ["sd15", "sdxl"])
def test_an_adapter_acts_before_and_behind_the_edit(models, relative, layout, key_length):
    model = models(layout)[0]
    positive, state = rows(model, 1, 2), strangers()

    def edited(of):
        return p2p(of, edit(seed=3, own=0))

    before = sample(edited(with_adapter(model, key_length)), positive, state)
    behind = sample(with_adapter(edited(model), key_length), positive, state)
    adapted = sample(with_adapter(model, key_length), positive, state)
    assert torch.equal(before, behind)
    assert torch.equal(before[0], adapted[0]) and relative(before[1], adapted[1]) > 1e-4
    assert relative(before[1], sample(edited(model), positive, state)[1]) > 1e-4
