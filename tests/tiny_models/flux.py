"""tiny_flux: a rectified flow in Flux's layout with tiny_sd15's text encoder, and its guidance-distilled sibling."""

from __future__ import annotations

import torch
from diffusers import FluxTransformer2DModel
from torch import Tensor, nn

from .diffusion import BATCH, CONTEXT, EMPTY_CAPTION_FRACTION, TextToLatent, drawn
from .latents import Latents
from .training import Loss
from .vocabulary import MAX_TOKENS, Vocabulary

CHANNELS = 16
GUIDANCE_RANGE = (1.0, 5.0)
CONDITIONED = ("guidance_embedder", "norm1.linear", "norm1_context.linear", "norm.linear", "norm_out.linear")
"""What the distilled sibling learns itself: the embedding of guidance, and the modulations through which it acts."""


class FlowTransformer(nn.Module):
    """Flux's transformer at width 128 (one head), on latents instead of tokens."""

    def __init__(self, guided: bool, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.transformer = FluxTransformer2DModel(
            patch_size=1,
            in_channels=4 * CHANNELS,
            num_layers=2,
            num_single_layers=6,
            attention_head_dim=128,
            num_attention_heads=1,
            joint_attention_dim=CONTEXT,
            pooled_projection_dim=CONTEXT,
            guidance_embeds=guided,
            axes_dims_rope=(16, 56, 56),
        )

    def forward(self, x: Tensor, s: Tensor, text: tuple[Tensor, Tensor], guidance: Tensor | None = None) -> Tensor:
        """x [B, 16, H, W], s [B] in 0..1, text ([B, 77, 128], pooled [B, 128]), guidance [B] -> v = noise - x0."""
        rows, columns = x.shape[2] // 2, x.shape[3] // 2
        places = torch.stack(torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij"), -1).flatten(0, 1)
        image_ids = nn.functional.pad(places.float(), (1, 0))
        tokens = nn.functional.pixel_unshuffle(x, 2).flatten(2).transpose(1, 2)
        velocity = self.transformer(
            tokens,
            encoder_hidden_states=text[0],
            pooled_projections=text[1],
            timestep=s,
            img_ids=image_ids,
            txt_ids=torch.zeros(MAX_TOKENS, 3),
            guidance=guidance,
            return_dict=False,
        )[0]
        return nn.functional.pixel_shuffle(velocity.transpose(1, 2).unflatten(2, (rows, columns)), 2)


def encoded_text(model: TextToLatent, rows: Tensor) -> tuple[Tensor, Tensor]:
    """The hidden states [B, 77, 128] and the end token's state [B, 128], from tiny_sd15's frozen text encoder."""
    encoded = model.text_encoder(rows)
    return encoded.last_hidden_state, encoded.pooler_output


def loss_on(latents: Latents, words: TextToLatent, vocabulary: Vocabulary) -> Loss:
    """|v - (noise - x0)|^2 at levels drawn from a logit-normal distribution (Esser et al. 2024, arXiv 2403.03206)."""
    rows = vocabulary.rows([*latents.captions, ""], pad_with_end=True)

    def loss_of(model: nn.Module, iteration: int, generator: torch.Generator) -> Tensor:
        x0, captions, emphasis = drawn(
            latents, rows, EMPTY_CAPTION_FRACTION, BATCH[latents.values.shape[-1]], generator
        )
        x, s, noise = _noised(x0, generator)
        return (emphasis * (model(x, s, encoded_text(words, captions)) - (noise - x0)).square()).mean()

    return loss_of


def distillation_loss_on(
    teacher: FlowTransformer, latents: Latents, words: TextToLatent, vocabulary: Vocabulary
) -> Loss:
    """Distills the teacher's velocity under classifier-free guidance, as a function of the scale (arXiv 2210.03142)."""
    rows = vocabulary.rows([*latents.captions, ""], pad_with_end=True)

    def loss_of(model: nn.Module, iteration: int, generator: torch.Generator) -> Tensor:
        x0, captions, _ = drawn(latents, rows, 0.0, BATCH[latents.values.shape[-1]], generator)
        x, s, _ = _noised(x0, generator)
        low, high = GUIDANCE_RANGE
        guidance = low + (high - low) * torch.rand(len(x), generator=generator)
        text, empty = encoded_text(words, captions), encoded_text(words, rows[-1:].expand(len(x), -1))
        with torch.no_grad():
            without, worded = teacher(x, s, empty), teacher(x, s, text)
            target = without + guidance[:, None, None, None] * (worded - without)
        return (model(x, s, text, guidance) - target).square().mean()

    return loss_of


def guided_from(teacher: FlowTransformer) -> FlowTransformer:
    """A copy with a guidance embedding; only the embedding and the modulations are trained."""
    model = FlowTransformer(guided=True)
    model.load_state_dict(teacher.state_dict(), strict=False)
    for name, value in model.named_parameters():
        value.requires_grad_(any(part in name for part in CONDITIONED))
    return model


def _noised(x0: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """The state (1 - s) x0 + s noise, its s [B], and the noise."""
    s = torch.randn(len(x0), generator=generator).sigmoid()
    noise = torch.randn(x0.shape, generator=generator)
    level = s[:, None, None, None]
    return (1 - level) * x0 + level * noise, s, noise
