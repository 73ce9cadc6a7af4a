"""The losses and conversions that the training in tests/tiny_models relies on, against their closed forms."""

import numpy as np
import pytest
import torch
from tiny_models import autoencoder, diffusion, drawing, latents, lora
from tiny_models.dataset import Pictures
from tiny_models.vocabulary import vocabulary


def test_the_detail_share_tells_noise_from_what_is_coarse():
    noise = torch.randn(4, 4, 32, 32, generator=torch.Generator().manual_seed(0))
    coarse = torch.nn.functional.interpolate(noise[..., :8, :8], size=32, mode="bilinear")
    assert autoencoder.detail_share(noise) > 0.7
    assert autoencoder.detail_share(coarse) < 0.05
    mixed = autoencoder.detail_share(coarse + 0.1 * noise)
    assert autoencoder.detail_share(coarse) < mixed < 0.2


def test_the_spread_loss_wants_mean_zero_and_deviation_one():
    x = torch.randn(8, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    x = (x - x.mean(dim=(0, 2, 3), keepdim=True)) / x.std(dim=(0, 2, 3), keepdim=True)
    assert autoencoder.spread_loss(x) < 1e-6
    assert autoencoder.spread_loss(x + 0.5) == pytest.approx(0.25, rel=1e-3)
    assert autoencoder.spread_loss(x * np.e) == pytest.approx(1.0, rel=1e-3)


def test_crops_come_from_the_pictures_and_the_generator_alone():
    pictures = Pictures([np.random.default_rng(0).integers(0, 256, (3, 128, 128, 3), np.uint8)], ["", "", ""])
    first, again = (autoencoder.crops(pictures, 64, torch.Generator().manual_seed(4)) for _ in range(2))
    assert first.shape == (autoencoder.CROPS, 3, 64, 64) and torch.equal(first, again)
    assert first.min() >= -1 and first.max() <= 1 and first.max() > 0.9


def test_noise_levels_are_those_of_stable_diffusion(sigma_table):
    alphas = diffusion.alphas_cumprod()
    assert torch.allclose(((1 - alphas) / alphas).sqrt().double(), sigma_table, rtol=1e-4)


@pytest.mark.parametrize("velocity", [False, True])
def test_ddim_returns_the_clean_latent_of_a_right_prediction(velocity):
    generator = torch.Generator().manual_seed(0)
    x0, noise = (torch.randn(2, 4, 8, 8, generator=generator) for _ in range(2))
    alpha, following = torch.tensor(0.3), torch.tensor(0.8)
    x = alpha.sqrt() * x0 + (1 - alpha).sqrt() * noise
    output = alpha.sqrt() * noise - (1 - alpha).sqrt() * x0 if velocity else noise
    expected = following.sqrt() * x0 + (1 - following).sqrt() * noise
    assert torch.allclose(drawing.ddim_step(x, output, alpha, following, velocity), expected, atol=1e-5)


def test_every_caption_has_rows_for_its_words():
    words = vocabulary()
    caption = "a pencil sketch of a large striped red ring on a grassy floor, lit from the left"
    rows = words.rows([caption, ""], pad_with_end=True)
    assert words.tokenizer.decode(words.token_ids[rows[0]], skip_special_tokens=True) == caption.replace(",", " ,")
    assert rows[0, 0] == len(words.token_ids) - 2 and rows[1, 1] == len(words.token_ids) - 1
    assert (words.token_ids[words.rows([""], pad_with_end=False)][0, 2:] == 0).all()


def test_dropped_captions_have_the_rows_of_no_caption():
    x = torch.arange(3.0).reshape(3, 1, 1, 1)
    encoded = latents.Latents(x, ["a", "b", "c"], 0.0, 1.0, 2 * x)
    rows = torch.tensor([[1], [2], [3], [0]])
    x, all_dropped, emphasis = diffusion.drawn(encoded, rows, 1.0, 64, torch.Generator().manual_seed(0))
    assert all_dropped.eq(0).all() and torch.equal(emphasis, 2 * x)
    x, kept, _ = diffusion.drawn(encoded, rows, 0.0, 64, torch.Generator().manual_seed(0))
    assert torch.equal(kept[:, 0].float(), x[:, 0, 0, 0] + 1)


def test_the_velocity_network_begins_with_what_fits_of_the_other():
    epsilon, velocity = (diffusion.TextToLatent(name, 20, seed) for seed, name in enumerate(diffusion.CHANNELS))
    diffusion.begin_from(velocity, epsilon)
    theirs, ours = epsilon.unet.state_dict(), velocity.unet.state_dict()
    assert torch.equal(ours["down_blocks.0.resnets.0.conv1.weight"], theirs["down_blocks.0.resnets.0.conv1.weight"])
    projection = "down_blocks.2.attentions.0.proj_in.weight"
    assert torch.equal(ours[projection], theirs[projection][..., 0, 0])
    narrower = "down_blocks.1.resnets.0.conv2.weight"
    assert torch.equal(ours[narrower], theirs[narrower][:64, :64])
    assert [name for name, value in velocity.named_parameters() if not value.requires_grad] == [
        f"text_encoder.{name}" for name, _ in velocity.text_encoder.named_parameters()
    ]


def test_a_low_rank_layer_begins_as_the_layer_it_stands_beside():
    base = torch.nn.Linear(6, 5)
    layer, x = lora.LowRank(base), torch.randn(3, 6)
    assert torch.equal(layer(x), base(x))
    torch.nn.init.normal_(layer.up.weight)
    assert torch.allclose(layer(x), base(x) + x @ layer.down.weight.T @ layer.up.weight.T, atol=1e-6)


def test_pictures_are_encoded_chunk_by_chunk_and_halved_by_averages(tmp_path):
    pictures = np.random.default_rng(0).integers(0, 256, (latents.CHUNK, 8, 8, 3), np.uint8)
    model = torch.nn.Module()
    model.encoder = torch.nn.Identity()
    latents.encode(model, Pictures([pictures], [""] * latents.CHUNK), tmp_path, lambda line: None)
    solids = np.zeros((latents.CHUNK, 8, 8), np.uint8)
    solids[:, :4] = 1
    encoded = latents.load(tmp_path, [""] * latents.CHUNK, Pictures([solids], []), (0.5, 2.0))
    whole = torch.from_numpy(pictures).permute(0, 3, 1, 2) / 127.5 - 1
    torch.testing.assert_close(encoded.values, (whole - 0.5) / 2, atol=1e-3, rtol=0)
    half = encoded.halved()
    assert half.values.std() == pytest.approx(1) and half.mean == 0.5
    again = half.values * half.deviation + half.mean
    torch.testing.assert_close(again, torch.nn.functional.avg_pool2d(whole, 2), atol=2e-3, rtol=0)
    share = latents.SOLIDS_WEIGHT / (latents.SOLIDS_WEIGHT + 1) * 2
    assert encoded.emphasis[:, :, :4].float() == pytest.approx(share, rel=1e-3)
    assert half.emphasis.float().mean() == pytest.approx(1, rel=1e-3)
