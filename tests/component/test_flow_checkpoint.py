"""A checkpoint in Flux' layout through the stock loader: words, picture, inversion and back, as people run it.

Its weights are random; also in float8 and half offloaded, where ComfyUI casts them layer by layer, and packed, as ComfyUI-GGUF's.
"""

import comfy.samplers
import comfy.sd
import pytest
import torch
from comfy.model_patcher import ModelPatcher
from node_call import run_node
from packed_layers import PackedOperations, with_packed_layers
from random_flux import write_random_flux
from retrace_pack.nodes.editing import RetraceEditSample
from retrace_pack.nodes.exact_inversion import RetraceEditFriendlyInvert
from retrace_pack.nodes.flow_inversion import RetraceFlowInvert
from safetensors.torch import load_file, save_file
from tiny_models import stored
from tiny_models.loader import layouts

STEPS = 4


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    layouts.register()
    folder = tmp_path_factory.mktemp("flux")
    write_random_flux(folder)
    save_file(stored.join(folder, "tiny_flux"), folder / "joined.safetensors")
    return folder / "joined.safetensors"


def load(file, **model_options):
    return comfy.sd.load_checkpoint_guess_config(str(file), model_options=model_options, disable_dynamic=True)[:3]


@pytest.fixture(params=["float32", "fp8", "offloaded", "packed"])
def loaded(file, request, monkeypatch):
    if request.param == "offloaded":
        before = ModelPatcher.load

        def by_half(self, device_to=None, lowvram_model_memory=0, force_patch_weights=False, full_load=False):
            before(self, device_to, self.model_size() // 2, force_patch_weights)

        monkeypatch.setattr(ModelPatcher, "load", by_half)
    if request.param == "packed":
        weights = with_packed_layers(load_file(file), stored.UNET)
        options = {"custom_operations": PackedOperations}
        return comfy.sd.load_state_dict_guess_config(weights, model_options=options, disable_dynamic=True)[:3]
    return load(file, **({"dtype": torch.float8_e4m3fn} if request.param == "fp8" else {}))


def test_a_picture_comes_back_and_a_stock_sampler_goes_the_same_way(loaded):
    from comfy_extras.nodes_custom_sampler import SamplerCustomAdvanced

    model, clip, vae = loaded
    source, target, empty = (
        clip.encode_from_tokens_scheduled(clip.tokenize(words)) for words in ("a red cube", "a large green cube", "")
    )
    picture = torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(0))
    latent = {"samples": vae.encode(picture)}
    assert latent["samples"].shape == (1, 16, 8, 8)
    trajectory, noise, _, sigmas = run_node(
        RetraceFlowInvert, model=model, positive=source, negative=empty, latent=latent, steps=STEPS
    ).result
    given = {"model": model, "trajectory": trajectory, "negative": empty}
    back = run_node(RetraceEditSample, **given, positive=source, cfg=1.0).result[0]["samples"]
    assert float((back - latent["samples"]).abs().max()) <= 1e-6
    assert torch.allclose(vae.decode(back), vae.decode(latent["samples"]), atol=1e-4)
    edited = run_node(RetraceEditSample, **given, positive=target, source=source, cfg=3.0).result
    assert float((edited[0]["samples"] - back).abs().max()) > 1e-3
    assert float((edited[1]["samples"] - latent["samples"]).abs().max()) <= 1e-6
    plain = run_node(RetraceEditSample, **given, positive=source, cfg=1.0, align="off").result[0]["samples"]
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(source, empty)
    euler = comfy.samplers.sampler_object("euler")
    stock = SamplerCustomAdvanced.execute(noise, guider, euler, sigmas, latent).result[0]["samples"]
    assert float((stock - plain).abs().max()) <= 1e-5 * max(1.0, float(plain.abs().max()))


def test_noise_maps_come_back_at_any_cfg(loaded):
    model, clip, vae = loaded
    source, empty = (clip.encode_from_tokens_scheduled(clip.tokenize(words)) for words in ("a red cube", ""))
    latent = {"samples": vae.encode(torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(0)))}
    given = {"model": model, "positive": source, "negative": empty, "cfg": 5.0}
    (trajectory,) = run_node(RetraceEditFriendlyInvert, **given, latent=latent, steps=STEPS).result
    back = run_node(RetraceEditSample, **given, trajectory=trajectory).result[0]["samples"]
    assert float((back - latent["samples"]).abs().max()) <= 1e-5
