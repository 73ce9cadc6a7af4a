"""The work folder: where the stages of training store their results, and how later stages load them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from . import autoencoder, dataset, latents
from .diffusion import TextToLatent
from .flux import FlowTransformer
from .training import Loss, Plan, fit, keep
from .vocabulary import Vocabulary

HELD_OUT = 200
FIRST_PICTURES = 2500
"""Enough for the autoencoder, which does not wait for the others."""
STYLED_PICTURES = 500
HALF = "-half"
"""Names what is trained on pictures of half the size."""
BEGUN = "-begun"
"""Names the weights that a stage begins with."""
PLANS = {
    f"autoencoder{BEGUN}": Plan(f"autoencoder{BEGUN}", 2400, 4e-4, clip=5.0, average_decay=0.995),
    "autoencoder": Plan("autoencoder", 1000, 3e-4, average_decay=0.995),
    f"tiny_sd15{HALF}": Plan(f"tiny_sd15{HALF}", 2000, 1e-3, seed=1, average_decay=0.998, look_every=500),
    "tiny_sd15": Plan("tiny_sd15", 3800, 6e-4, seed=11, average_decay=0.998, look_every=950, muon=True),
    "decoder": Plan("decoder", 800, 3e-4, seed=9, clip=5.0, average_decay=0.995),
    "controlnet": Plan("controlnet", 2000, 5e-4, seed=2),
    "lora": Plan("lora", 1000, 3e-3, seed=3, average_decay=0.98, weight_decay=0.0, look_every=200),
    "tiny_sd2_v": Plan("tiny_sd2_v", 1500, 8e-4, seed=4, average_decay=0.996, look_every=750),
    "autoencoder16": Plan("autoencoder16", 1200, 3e-4, seed=5, clip=5.0, average_decay=0.995),
    f"tiny_flux{HALF}": Plan(f"tiny_flux{HALF}", 4000, 1e-3, seed=10, average_decay=0.999, look_every=500),
    "tiny_flux": Plan("tiny_flux", 8000, 8e-4, seed=6, cool_down=1500, average_decay=0.9995, look_every=500),
    "tiny_flux_guided": Plan("tiny_flux_guided", 600, 5e-4, seed=7, average_decay=0.99, look_every=300),
}


@dataclass(frozen=True)
class Work:
    """Where the stages store their results, and how large the training set is."""

    folder: Path
    pictures: int
    threads: int
    report: Callable[[str], None]

    def photos(self, count: int) -> dataset.Pictures:
        return dataset.load(self.folder / "pictures", count)

    def solids(self, count: int) -> dataset.Pictures:
        return dataset.load(self.folder / "solids", count)

    def styled(self) -> dataset.Pictures:
        return dataset.load(self.folder / "styled", STYLED_PICTURES)

    def held_out_set(self) -> dataset.Pictures:
        return dataset.load(self.folder / "held-out", HELD_OUT)

    def latents_folder(self, channels: int, kind: str = "photos") -> Path:
        return self.folder / f"latents{channels}-{kind}"

    def photo_latents(self, channels: int = 4) -> latents.Latents:
        photos = self.photos(self.pictures)
        return latents.load(self.latents_folder(channels), photos.captions, self.solids(self.pictures))

    def latents(self, channels: int = 4) -> latents.Latents:
        """The latents of the photographs and, in the same scale, of the styled pictures."""
        photos = self.photo_latents(channels)
        scale = photos.mean, photos.deviation
        styled, solids = self.styled(), self.solids(STYLED_PICTURES)
        return photos + latents.load(self.latents_folder(channels, "styled"), styled.captions, solids, scale)

    def has(self, name: str) -> bool:
        """Whether this stage has finished."""
        return self._weights(name).exists()

    def trained(
        self,
        name: str,
        model: nn.Module,
        loss_of: Callable[[], Loss] | None = None,
        look: Callable[[nn.Module, int], None] = lambda average, iteration: None,
    ) -> nn.Module:
        """`model` with the weights of a stage, which is trained first if it has not finished and a loss is given."""
        if not self.has(name):
            if loss_of is None:
                raise FileNotFoundError(f"Stage {name} has not come to its end: there is no {self._weights(name)}.")
            average = fit(PLANS[name], model, loss_of(), self.folder, self.report, look)
            keep(average.state_dict(), self._weights(name))
        model.load_state_dict(torch.load(self._weights(name), weights_only=True))
        return model.eval().requires_grad_(False)

    def autoencoder(self, channels: int = 4) -> nn.Module:
        """With its decoder trained to the end, where that has been done; the latents are the same before and after."""
        name = "autoencoder" if channels == 4 else f"autoencoder{channels}"
        return self.trained("decoder" if channels == 4 and self.has("decoder") else name, autoencoder.build(channels))

    def tiny_flux(self) -> FlowTransformer:
        model = FlowTransformer(guided=False)
        self.trained("tiny_flux", model)
        return model

    def text_to_latent(self, name: str, words: Vocabulary) -> TextToLatent:
        model = TextToLatent(name, len(words.token_ids))
        self.trained(name, model)
        return model

    def take_over(self, name: str, weights: dict[str, Tensor]) -> None:
        """Mark a stage as finished, with these weights; a stage that has weights of its own keeps them."""
        if not self.has(name):
            keep(weights, self._weights(name))
            self.report(f"{name}: taken over from the stored files")

    def _weights(self, name: str) -> Path:
        return self.folder / f"{name}.pt"
