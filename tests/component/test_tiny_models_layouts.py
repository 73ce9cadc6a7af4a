"""Files saved by the trainers of tests/tiny_models, with random weights: ComfyUI's stock loaders build the same networks."""

from dataclasses import dataclass

import comfy.controlnet
import comfy.lora
import comfy.sd
import comfy.utils
import pytest
import torch
from safetensors.torch import save_file
from tiny_models import autoencoder, checkpoint, controlnet, flux, lora, stored
from tiny_models.diffusion import TextToLatent
from tiny_models.latents import Latents
from tiny_models.loader import layouts
from tiny_models.vocabulary import Vocabulary, vocabulary
from tiny_models.work import Work

CAPTION = "a photo of a large striped red cylinder on a wooden floor, beige wall"
SCALE = Latents(torch.zeros(0), [], mean=0.1, deviation=1.3, emphasis=torch.zeros(0))


@dataclass(frozen=True)
class Saved:
    """A model with random weights, rounded as in its file, and the file loaded by ComfyUI."""

    model: TextToLatent
    decoder: torch.nn.Module
    words: Vocabulary
    loaded: tuple


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    layouts.register()
    words = vocabulary()
    vae = autoencoder.build(4).half().float().eval().requires_grad_(False)
    made = {}

    def get(name: str) -> Saved:
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            model = TextToLatent(name, len(words.token_ids)).half().float().eval().requires_grad_(False)
            checkpoint.save_part(checkpoint.unet_part(model), folder / f"{name}.safetensors")
            checkpoint.save_part(checkpoint.text_part(model, words), folder / "tiny_text.safetensors")
            checkpoint.save_part(checkpoint.vae_part(vae, SCALE), folder / "tiny_vae.safetensors")
            save_file(stored.join(folder, name), folder / "joined.safetensors")
            with torch.inference_mode():
                loaded = comfy.sd.load_checkpoint_guess_config(str(folder / "joined.safetensors"))[:3]
            made[name] = Saved(model, vae.decoder, words, loaded)
        return made[name]

    return get


def test_training_goes_on_from_the_stored_parts(tmp_path):
    words, vae = vocabulary(), autoencoder.build(4).half().float()
    model = TextToLatent("tiny_sd15", len(words.token_ids)).half().float()
    folder = tmp_path / "stored"
    checkpoint.save_part(checkpoint.unet_part(model), folder / "tiny_sd15.safetensors")
    checkpoint.save_part(checkpoint.text_part(model, words), folder / "tiny_text.safetensors")
    checkpoint.save_part(checkpoint.vae_part(vae, SCALE), folder / "tiny_vae.safetensors")
    work = Work(tmp_path, pictures=0, threads=1, report=lambda line: None)
    for finished, names in ((False, ("autoencoder-begun", "tiny_sd15-half")), (True, ("autoencoder", "tiny_sd15"))):
        assert not any(map(work.has, names))
        checkpoint.take_over_parts(work, folder, finished)
        taken = (autoencoder.build(4, seed=1), TextToLatent("tiny_sd15", len(words.token_ids), seed=1))
        for name, ours, theirs in zip(names, taken, (vae, model), strict=True):
            work.trained(name, ours)
            for key, value in theirs.state_dict().items():
                assert torch.equal(ours.state_dict()[key], value), key


@pytest.mark.parametrize("name", ["tiny_sd15", "tiny_sd2_v"])
def test_the_stock_loader_makes_the_trained_network(saved, relative, name):
    ours = saved(name)
    comfy_model, clip, _ = ours.loaded
    context = ours.model.text_encoder(ours.words.rows([CAPTION], pad_with_end=name == "tiny_sd15")).last_hidden_state
    theirs = clip.encode_from_tokens_scheduled(clip.tokenize(CAPTION))[0][0]
    assert relative(theirs, context) < 1e-3
    x, timestep = torch.randn(1, 4, 32, 32, generator=torch.Generator().manual_seed(0)), torch.tensor([300])
    expected = ours.model.unet(x, timestep, context).sample
    comfy.model_management.load_model_gpu(comfy_model)
    assert relative(comfy_model.model.diffusion_model(x, timestep, context), expected) < 1e-3
    predicts_v = comfy_model.model.model_type.name == "V_PREDICTION"
    assert predicts_v == (name == "tiny_sd2_v")


def test_the_stock_vae_undoes_the_scale_of_the_latents(saved, relative):
    ours = saved("tiny_sd15")
    comfy_model, _, vae = ours.loaded
    x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    picture = vae.decode(comfy_model.model.process_latent_out(x))
    expected = ours.decoder(x * SCALE.deviation + SCALE.mean).movedim(1, -1) / 2 + 0.5
    assert relative(picture, expected.clamp(0, 1)) < 1e-3


def test_the_stock_loader_makes_the_trained_controlnet(saved, relative, tmp_path):
    ours = saved("tiny_sd15")
    network = controlnet.build(ours.model).half().float().eval().requires_grad_(False)
    for zero in [*network.controlnet_down_blocks, network.controlnet_mid_block]:
        torch.nn.init.normal_(zero.weight, std=0.5)
        zero.half().float()
    checkpoint.save_part(checkpoint.controlnet_part(network), tmp_path / "controlnet.safetensors")
    loaded = comfy.controlnet.load_controlnet(str(tmp_path / "controlnet.safetensors")).control_model.float()
    generator = torch.Generator().manual_seed(0)
    x, context = torch.randn(1, 4, 32, 32, generator=generator), torch.randn(1, 77, 128, generator=generator)
    hint, timestep = torch.rand(1, 3, 256, 256, generator=generator), torch.tensor([300])
    down, middle = network(x, timestep, context, hint, return_dict=False)
    theirs = loaded(x=x, hint=hint, timesteps=timestep, context=context)
    for found, expected in zip((*theirs["output"], *theirs["middle"]), (*down, middle), strict=True):
        assert relative(found, expected) < 1e-3


def test_a_lora_is_known_by_every_one_of_its_names(saved, relative):
    ours = saved("tiny_sd15")
    comfy_model, clip, _ = ours.loaded
    model = lora.build(ours.model)
    layers = [module for module in model.unet.modules() if isinstance(module, lora.LowRank)]
    for layer in layers:
        torch.nn.init.normal_(layer.up.weight, std=0.1)
    patched, _ = comfy.sd.load_lora_for_models(comfy_model, clip, checkpoint.lora_part(model), 1.0, 1.0)
    assert len(patched.patches) == len(layers) == 8 * 7
    generator = torch.Generator().manual_seed(0)
    x, context = torch.randn(1, 4, 32, 32, generator=generator), torch.randn(1, 77, 128, generator=generator)
    expected = model.unet(x, torch.tensor([300]), context).sample
    comfy.model_management.load_model_gpu(patched)
    assert relative(patched.model.diffusion_model(x, torch.tensor([300]), context), expected) < 1e-3
    patched.unpatch_model()


@pytest.mark.parametrize("name", ["tiny_flux", "tiny_flux_guided"])
def test_the_stock_loader_makes_the_trained_flow(relative, tmp_path, name):
    layouts.register()
    words = vocabulary()
    text = TextToLatent("tiny_sd15", len(words.token_ids)).half().float().eval().requires_grad_(False)
    vae = autoencoder.build(flux.CHANNELS).half().float().eval().requires_grad_(False)
    base = flux.FlowTransformer(guided=False).half().float().eval()
    guided = flux.guided_from(base).half().float().eval()
    for key, value in guided.named_parameters():
        value.data += 0.01 * ("norm.linear" in key)
    guided = guided.half().float().requires_grad_(False)
    parts = {
        "tiny_flux": checkpoint.flux_part(base),
        "tiny_flux_guided": checkpoint.difference(checkpoint.flux_part(guided), checkpoint.flux_part(base)),
        "tiny_text": checkpoint.text_part(text, words),
        "tiny_vae16": checkpoint.vae_part(vae, SCALE, checkpoint.FLUX_FORMAT),
    }
    for part, state in parts.items():
        checkpoint.save_part(state, tmp_path / f"{part}.safetensors")
    save_file(stored.join(tmp_path, name), tmp_path / "joined.safetensors")
    model, clip, loaded_vae = comfy.sd.load_checkpoint_guess_config(str(tmp_path / "joined.safetensors"))[:3]
    assert model.model.model_type.name == ("FLUX" if name == "tiny_flux_guided" else "FLOW")
    states, pooled = flux.encoded_text(text, words.rows([CAPTION], pad_with_end=True))
    encoded, extra = clip.encode_from_tokens_scheduled(clip.tokenize(CAPTION))[0]
    assert relative(encoded, states) < 1e-3 and relative(extra["pooled_output"], pooled) < 1e-3
    generator = torch.Generator().manual_seed(0)
    x, s, guidance = torch.randn(1, 16, 32, 32, generator=generator), torch.tensor([0.6]), torch.tensor([3.0])
    network = (guided, guidance) if name == "tiny_flux_guided" else (base, None)
    expected = network[0](x, s, (states, pooled), network[1])
    comfy.model_management.load_model_gpu(model)
    assert relative(model.model.diffusion_model(x, s, states, pooled, network[1]), expected) < 1e-3
    decoded = loaded_vae.decode(model.model.process_latent_out(x[..., :8, :8]))
    wanted = vae.decoder(x[..., :8, :8] * SCALE.deviation + SCALE.mean).movedim(1, -1) / 2 + 0.5
    assert relative(decoded, wanted.clamp(0, 1)) < 1e-3
