"""Whatever is added to the model takes part in null-text optimization: a ControlNet, a LoRA."""

from dataclasses import replace

import comfy.cldm.cldm
import comfy.controlnet
import comfy.ops
import pytest
import torch
from random_models import initialise
from retrace_pack.host import null_text as host
from retrace_pack.host.negative import null_text_conditioning

import nodes

LORA_KEY = "diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_v.weight"


def random_control(model):
    """A ControlNet in the model's layout with random weights."""
    config = {**model.model.model_config.unet_config, "hint_channels": 3, "operations": comfy.ops.disable_weight_init}
    network = comfy.cldm.cldm.ControlNet(**{key: value for key, value in config.items() if key != "out_channels"})
    # Otherwise the weights would hang on which tests ran before, and with some of them a step of three tries gains nothing.
    torch.manual_seed(1)
    initialise(network)
    return comfy.controlnet.ControlNet(network, load_device=torch.device("cpu"))


def under_control(task, control):
    hint = torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(0))
    apply = nodes.ControlNetApplyAdvanced().apply_controlnet
    source, negative = apply(task.source, task.negative, control, hint, 1.0, 0.0, 1.0)
    return replace(task, source=source, negative=negative)


def test_a_controlnet_takes_part(short_task, relative):
    """In the inversion, in the gradient and in the conditioning that comes out."""
    task = short_task()
    control = random_control(task.model)
    weights = [parameter.clone() for parameter in control.control_model.parameters()]
    controlled = under_control(task, control)
    trajectory = controlled.invert()
    assert not torch.allclose(trajectory.latents[-1], task.invert().latents[-1], rtol=1e-2)
    optimized, record = controlled.optimize(trajectory)
    assert all(min(losses) < losses[0] for losses in record.losses if len(losses) > 1)
    conditioning = null_text_conditioning(optimized, controlled.negative)
    rebuilt = controlled.edit(optimized, negative=conditioning)[0]
    assert task.error(rebuilt) < 0.5 * task.error(controlled.edit(trajectory)[0])
    assert relative(controlled.k_sampler(optimized, conditioning), rebuilt) < 1e-4
    with pytest.raises(
        ValueError, match="Edit Sample: the trajectory's null embeddings were made with .*control.* on the neg"
    ):
        controlled.edit(optimized)
    other, _ = task.optimize(trajectory)
    assert not torch.allclose(other.null_text.embeddings, optimized.null_text.embeddings, rtol=1e-2)
    assert all(torch.equal(*pair) for pair in zip(weights, control.control_model.parameters(), strict=True))


def test_a_controlnet_and_a_residual_go_together(short_task):
    task = short_task()
    controlled = under_control(task, random_control(task.model))
    optimized, _ = controlled.optimize(controlled.invert(), keep_residual=True)
    without = replace(optimized, null_text=replace(optimized.null_text, residuals=None))
    negative = null_text_conditioning(optimized, controlled.negative)
    missed, left = (task.error(controlled.edit(each, negative=negative)[0]) for each in (without, optimized))
    # What is left is rounding, which a random network under this guidance enlarges.
    assert left < 1e-3 * missed


def test_a_controlnet_that_comfyui_copies_to_the_negative_is_refused(short_task):
    task = short_task()
    (source,) = nodes.ControlNetApply().apply_controlnet(
        task.source, random_control(task.model), torch.rand(1, 64, 64, 3), 1.0
    )
    with pytest.raises(ValueError, match=r"positive has a ControlNet by Apply ControlNet \(OLD\)"):
        replace(task, source=source).optimize(task.invert())


def test_checkpoints_around_a_controlnet_change_nothing(short_task, monkeypatch):
    """ComfyUI adds a ControlNet's output in place, which must not reach what autograd or a checkpoint keeps."""
    task = short_task()
    task = under_control(task, random_control(task.model))
    trajectory = task.invert()
    embeddings = []
    for kept_per_pixel in (0, 1e15):
        monkeypatch.setattr(host, "KEPT_PER_LATENT_PIXEL", kept_per_pixel)
        optimized, _ = task.optimize(trajectory, inner_steps=1, epsilon=0.0)
        embeddings.append(optimized.null_text.embeddings)
    torch.testing.assert_close(*embeddings, rtol=1e-4, atol=1e-5)


def test_a_lora_takes_part(short_task):
    task = short_task()
    weight = task.model.model_state_dict()[LORA_KEY]
    patched = replace(task, model=task.model.clone())
    change = 0.3 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    patched.model.add_patches({LORA_KEY: (change,)})
    trajectory = patched.invert()
    optimized, _ = patched.optimize(trajectory)
    other, _ = task.optimize(trajectory)
    assert not torch.allclose(optimized.null_text.embeddings, other.null_text.embeddings, rtol=1e-2)
    rebuilt = patched.edit(optimized)[0]
    assert task.error(rebuilt) < 0.5 * task.error(patched.edit(trajectory)[0])
    assert task.error(rebuilt) < 0.5 * task.error(task.edit(optimized)[0])
