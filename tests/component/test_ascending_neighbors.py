"""Inversion with other nodes' keyframes and caches, which only work while the noise level falls.

The stand-in has the attributes of Advanced-ControlNet's public source.
"""

from dataclasses import replace
from types import SimpleNamespace

import comfy.hooks
import pytest
import torch
from comfy.controlnet import ControlBase
from comfy_extras.nodes_easycache import EasyCacheNode, LazyCacheNode

CLIMBING = {
    "DDIM Invert": lambda task: task.invert(),
    "O-BELM": lambda task: task.exact("o-belm"),
    "EDICT": lambda task: task.exact("edict", cfg=2.0),
}
WEIGHT = "diffusion_model.out.2.weight"


class AdvancedControl(ControlBase):
    def __init__(self, *starts: float) -> None:
        super().__init__()
        self.timestep_keyframes = SimpleNamespace(keyframes=[SimpleNamespace(start_percent=start) for start in starts])

    def get_control(self, x_noisy, t, cond, batched_number, transformer_options):
        return None

    def pre_run(self, model, percent_to_timestep_function):
        pass

    def get_models(self):
        return []


def patches(model):
    return {WEIGHT: ("diff", (0.5 * model.model.state_dict()[WEIGHT],))}


def hooks(model, *strengths: float):
    """A hook on one weight, with keyframes of these strengths at evenly spaced starts."""
    hook = comfy.hooks.WeightHook()
    hook.weights, hook.need_weight_init = patches(model), False
    for index, strength in enumerate(strengths):
        hook.hook_keyframe.add(comfy.hooks.HookKeyframe(strength, index / len(strengths)))
    group = comfy.hooks.HookGroup()
    group.add(hook)
    return group


def under(conditioning, **settings):
    return [[embedding, {**others, **settings}] for embedding, others in conditioning]


@pytest.mark.parametrize("invert", CLIMBING.values(), ids=CLIMBING.keys())
def test_hook_keyframes_are_refused(task, invert):
    keyed = replace(task, source=under(task.source, hooks=hooks(task.model, 1.0, 0.0)))
    with pytest.raises(ValueError, match=r"Invert: positive has hooks with keyframes.* invert without Set Hook Keyf"):
        invert(keyed)


def test_keyframes_of_the_negative_are_refused_where_it_is_used(task):
    keyed = replace(task, negative=under(task.negative, hooks=hooks(task.model, 1.0, 0.0)))
    with pytest.raises(ValueError, match="Exact Invert: negative has hooks with keyframes"):
        keyed.exact("o-belm", cfg=2.0)
    torch.testing.assert_close(keyed.exact("o-belm").latents, task.exact("o-belm").latents)


def test_keyframes_of_a_controlnet_are_refused_anywhere_in_the_chain(task):
    chain = AdvancedControl(0.0).set_previous_controlnet(AdvancedControl(0.0, 0.5))
    with pytest.raises(ValueError, match=r"DDIM Invert: positive has a ControlNet with timestep keyframes"):
        replace(task, source=under(task.source, control=chain)).invert()


def test_hook_keyframes_of_a_controlnet_are_refused(task):
    control = AdvancedControl(0.0)
    control.extra_hooks = hooks(task.model, 1.0, 0.0)
    with pytest.raises(ValueError, match="DDIM Invert: positive has hooks with keyframes"):
        replace(task, source=under(task.source, control=control)).invert()


@pytest.mark.parametrize("strengths", [(), (0.5,), (0.5, 0.5)])
def test_a_constant_strength_is_that_of_the_patched_model(task, strengths):
    model = task.model.clone()
    model.add_patches(patches(model), 0.5 if strengths else 1.0)
    settings = {"hooks": hooks(task.model, *strengths), "control": AdvancedControl(0.0)}
    hooked = replace(task, source=under(task.source, **settings)).invert().latents
    torch.testing.assert_close(hooked, replace(task, model=model).invert().latents)
    assert not torch.allclose(hooked, task.invert().latents, rtol=1e-2, atol=1e-2)


def test_edit_friendly_inversion_walks_down_and_takes_keyframes(task, relative):
    source = under(task.source, hooks=hooks(task.model, 1.0, 0.0))
    keyed = replace(task, source=source, cfg=3.5)
    assert relative(keyed.edit(keyed.edit_friendly("ddpm"))[0], task.samples) < 1e-5


@pytest.mark.parametrize("cache", [EasyCacheNode, LazyCacheNode])
@pytest.mark.parametrize("invert", CLIMBING.values(), ids=CLIMBING.keys())
def test_caches_of_the_network_are_refused(task, cache, invert):
    cached = replace(task, model=cache.execute(task.model, 0.2, 0.15, 0.95, False).result[0])
    name = cache.define_schema().node_id
    with pytest.raises(ValueError, match=rf"Invert: the model has {name}, .* connect the model from before {name}"):
        invert(cached)
