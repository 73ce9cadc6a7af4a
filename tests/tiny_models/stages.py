"""The stages of training, in the order of their dependencies."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from . import autoencoder, controlnet, dataset, diffusion, drawing, flux, latents, lora
from .diffusion import TextToLatent
from .vocabulary import Vocabulary, vocabulary
from .work import BEGUN, FIRST_PICTURES, HALF, HELD_OUT, STYLED_PICTURES, Work


def render_first_pictures(work: Work) -> None:
    held_out = dataset.held_out_example(seed=1)
    dataset.render_set(work.folder / "held-out", HELD_OUT, held_out, work.threads, work.report)
    _render_photos(work, FIRST_PICTURES)


def render_all_pictures(work: Work) -> None:
    _render_photos(work, work.pictures)


def _render_photos(work: Work, count: int) -> None:
    for name, example in (("pictures", dataset.training_example(seed=0)), ("solids", dataset.solids_example(seed=0))):
        dataset.render_set(work.folder / name, count, example, work.threads, work.report)


def stylize_pictures(work: Work) -> None:
    example = dataset.styled_example(work.folder / "pictures")
    dataset.render_set(work.folder / "styled", STYLED_PICTURES, example, work.threads, work.report)


def begin_autoencoder(work: Work) -> None:
    _train_autoencoder(work, f"autoencoder{BEGUN}", autoencoder.build(4))


def train_autoencoder(work: Work) -> None:
    """At a lower rate, which what has been learned survives."""
    model = autoencoder.build(4)
    work.trained(f"autoencoder{BEGUN}", model)
    _train_autoencoder(work, "autoencoder", model.train().requires_grad_(True))


def train_wide_autoencoder(work: Work) -> None:
    model = autoencoder.build(flux.CHANNELS)
    autoencoder.begin_from(model, work.autoencoder())
    _train_autoencoder(work, "autoencoder16", model)


def train_decoder(work: Work) -> None:
    """Sharper pictures from the same latents: the models that draw them are trained meanwhile, or before."""
    model = work.autoencoder()
    model.decoder.requires_grad_(True)  # pyright: ignore
    _train_autoencoder(work, "decoder", model)


def _train_autoencoder(work: Work, name: str, model: nn.Module) -> None:
    held_out = work.held_out_set()
    pictures = work.photos(FIRST_PICTURES) + work.styled()

    def look(average: nn.Module, iteration: int) -> None:
        restored = autoencoder.round_trips(average, held_out, 8)
        decibels = autoencoder.psnr(restored, held_out)
        work.report(f"{name}: {decibels:.2f} dB on 8 held-out pictures at iteration {iteration}")
        originals = [held_out[index] for index in range(8)]
        pairs = [picture for pair in zip(originals, restored, strict=True) for picture in pair]
        drawing.write_sheet(pairs, work.folder / "sheets" / f"{name}-{iteration:05}.png")

    work.trained(name, model, lambda: autoencoder.loss_on(pictures), look)
    decibels = autoencoder.psnr(autoencoder.round_trips(model, held_out, HELD_OUT), held_out)
    work.report(f"{name}: {decibels:.2f} dB on {HELD_OUT} held-out pictures")


def encode_pictures(work: Work) -> None:
    _encode_pictures(work, 4)


def encode_pictures_wide(work: Work) -> None:
    _encode_pictures(work, flux.CHANNELS)


def _encode_pictures(work: Work, channels: int) -> None:
    model = work.autoencoder(channels)
    for kind, pictures in (("photos", work.photos(work.pictures)), ("styled", work.styled())):
        latents.encode(model, pictures, work.latents_folder(channels, kind), work.report)
    encoded = work.latents(channels)
    deviation, mean = torch.std_mean(encoded.values, dim=(0, 2, 3))
    share = autoencoder.detail_share(encoded.values[:100])
    work.report(f"latents: mean {encoded.mean:.3f}, deviation {encoded.deviation:.3f}, share of detail {share:.3f}")
    work.report(f"latents: in this scale, means of the channels {mean.tolist()}, deviations {deviation.tolist()}")


def train_half_epsilon(work: Work) -> None:
    """Train on half-size pictures, four times as many in the same time: words, colors and layout are learned here."""
    words = vocabulary()
    model = TextToLatent("tiny_sd15", len(words.token_ids))
    _train_text_to_latent(work, words, model, f"tiny_sd15{HALF}", work.latents().halved())


def train_epsilon(work: Work) -> None:
    words = vocabulary()
    model = TextToLatent("tiny_sd15", len(words.token_ids))
    work.trained(f"tiny_sd15{HALF}", model)
    _train_text_to_latent(work, words, model.train().requires_grad_(True), "tiny_sd15", work.latents())


def train_velocity(work: Work) -> None:
    words = vocabulary()
    model = TextToLatent("tiny_sd2_v", len(words.token_ids))
    diffusion.begin_from(model, work.text_to_latent("tiny_sd15", words))
    _train_text_to_latent(work, words, model, "tiny_sd2_v", work.latents())


def _train_text_to_latent(
    work: Work, words: Vocabulary, model: TextToLatent, name: str, encoded: latents.Latents
) -> None:
    decoder = work.autoencoder().decoder
    captions = work.held_out_set().captions[:8]

    def look(average: nn.Module, iteration: int) -> None:
        drawn = drawing.draw(name, average, decoder, encoded, words, captions)  # pyright: ignore
        drawing.write_sheet(drawn, work.folder / "sheets" / f"{name}-{iteration:05}.png")

    work.trained(name, model, lambda: diffusion.loss_on(name, encoded, words), look)


def train_controlnet(work: Work) -> None:
    words = vocabulary()
    base = work.text_to_latent("tiny_sd15", words)
    network = controlnet.build(base)
    work.trained(
        "controlnet", network, lambda: controlnet.loss_on(base, work.photos(work.pictures), work.photo_latents(), words)
    )


def train_lora(work: Work) -> None:
    words = vocabulary()
    base = work.text_to_latent("tiny_sd15", words)
    model = lora.build(base)
    encoder = work.autoencoder()
    photos = work.photo_latents()
    scale = photos.mean, photos.deviation
    pictures, solids = work.photos(FIRST_PICTURES), work.solids(FIRST_PICTURES)
    styled = lora.styled_set(pictures, solids, encoder, work.folder / "lora-latents", scale, work.report)
    captions = [lora.styled_caption(caption) for caption in work.held_out_set().captions[:8]]

    def look(average: nn.Module, iteration: int) -> None:
        drawn = drawing.draw("tiny_sd15", average, encoder.decoder, styled, words, captions)  # pyright: ignore
        drawing.write_sheet(drawn, work.folder / "sheets" / f"lora-{iteration:05}.png")

    work.trained("lora", model, lambda: diffusion.loss_on("tiny_sd15", styled, words), look)


def train_half_flux(work: Work) -> None:
    _train_flow(work, flux.FlowTransformer(guided=False), f"tiny_flux{HALF}", work.latents(flux.CHANNELS).halved())


def train_flux(work: Work) -> None:
    model = flux.FlowTransformer(guided=False)
    work.trained(f"tiny_flux{HALF}", model)
    _train_flow(work, model.train().requires_grad_(True), "tiny_flux", work.latents(flux.CHANNELS))


def _train_flow(work: Work, model: flux.FlowTransformer, name: str, encoded: latents.Latents) -> None:
    words = vocabulary()
    text = work.text_to_latent("tiny_sd15", words)
    decoder = work.autoencoder(flux.CHANNELS).decoder
    captions = work.held_out_set().captions[:8]

    def look(average: nn.Module, iteration: int) -> None:
        drawn = drawing.draw_flow(average, text, decoder, encoded, words, captions)  # pyright: ignore
        drawing.write_sheet(drawn, work.folder / "sheets" / f"{name}-{iteration:05}.png")

    work.trained(name, model, lambda: flux.loss_on(encoded, text, words), look)


def distill_flux(work: Work) -> None:
    words = vocabulary()
    text, teacher = work.text_to_latent("tiny_sd15", words), work.tiny_flux()
    encoded = work.latents(flux.CHANNELS)
    loss_of = lambda: flux.distillation_loss_on(teacher, encoded, text, words)  # noqa: E731
    work.trained("tiny_flux_guided", flux.guided_from(teacher), loss_of)


def write_files(work: Work) -> None:
    """Write the files that the repository stores, from the stages that have finished, to FOLDER/files."""
    from .checkpoint import write_parts  # needs ComfyUI

    write_parts(work)


STAGES: dict[str, Callable[[Work], None]] = {
    "pictures": render_first_pictures,
    "styles": stylize_pictures,
    "begin_autoencoder": begin_autoencoder,
    "autoencoder": train_autoencoder,
    "more_pictures": render_all_pictures,
    "latents": encode_pictures,
    "half_tiny_sd15": train_half_epsilon,
    "tiny_sd15": train_epsilon,
    "controlnet": train_controlnet,
    "lora": train_lora,
    "decoder": train_decoder,
    "tiny_sd2_v": train_velocity,
    "files": write_files,
    "autoencoder16": train_wide_autoencoder,
    "latents16": encode_pictures_wide,
    "half_tiny_flux": train_half_flux,
    "tiny_flux": train_flux,
    "tiny_flux_guided": distill_flux,
    "all_files": write_files,
}
