"""Networks in half precision: the stored residuals are exactly the errors of the way back, whatever it is batched with."""

from dataclasses import replace

import comfy.sd
import miniatures
import pytest
import torch
from comfy.ldm.modules.attention import attention_sub_quad
from tiny_models.loader import layouts

MINIATURE = miniatures.CHECKPOINTS / "tiny_sd15.safetensors"
STEPS = 3


@pytest.fixture(params=[torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
def half(trained, request):
    """A task whose network computes in half precision, with another attention than the one used for gradients."""
    layouts.register()
    model = comfy.sd.load_checkpoint_guess_config(
        str(MINIATURE), output_vae=False, output_clip=False, model_options={"dtype": request.param}
    )[0]
    model.model.manual_cast_dtype = None  # As on a GPU: ComfyUI takes float32 on this processor.
    assert model.model.get_dtype_inference() == request.param

    def attention(_chosen, *args, **kwargs):
        return attention_sub_quad(*args, **kwargs)

    model.model_options["transformer_options"]["optimized_attention_override"] = attention
    whole = trained()  # A corner of it, because processors are slow in half precision.
    return replace(whole, model=model, samples=whole.samples[..., :8, :8], steps=STEPS)


def test_a_residual_makes_the_reconstruction_exact(half):
    optimized = half.optimize_node(half.invert(), inner_steps=1, residual=True)[0]
    for start_step in (0, 1):
        rebuilt, _ = half.edit(optimized, start_step=start_step)
        assert half.psnr(rebuilt) > 100
    edit, _ = half.edit(optimized, half.target)
    assert half.psnr(edit) < 40


def test_noise_maps_make_the_reconstruction_exact(half):
    trajectory = half.edit_friendly("dpm++ 2m")
    for start_step in (0, 1):
        rebuilt, _ = half.edit(trajectory, cfg=3.5, start_step=start_step)
        assert half.psnr(rebuilt) > 100
    edit, _ = half.edit(trajectory, half.target)
    assert half.psnr(edit) < 40
