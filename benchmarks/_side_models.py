"""The same weights in ComfyUI's classes and in diffusers', and the task that both are given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

SOURCE, TARGET = "a large red ball on a blue wall", "a large yellow ball on a blue wall"
FACTOR = 0.18215
"""SD's latent format: the network sees a LATENT times this."""
INNER_STEPS = 3
"""Of null-text optimization, for each step."""
CROSS_STEPS, SELF_STEPS = 0.8, 0.4
"""The shares of the steps in which prompt-to-prompt edits the maps."""


@dataclass(frozen=True)
class Pair:
    """One network twice, and the prompts, encoded beforehand by the same encoder for both: [1, 77, D].

    Attributes:
        model, clip: ComfyUI's MODEL, and its CLIP unless the prompts are random.
        theirs: diffusers' network.
    """

    model: Any
    clip: Any
    theirs: nn.Module
    positive: Tensor
    negative: Tensor

    @property
    def network(self) -> nn.Module:
        """ComfyUI's."""
        return self.model.model.diffusion_model


@dataclass(frozen=True)
class Task:
    """States are in the network's scale and of variance 1.

    Attributes:
        clean: what is inverted or inpainted, [B, 4, H, W].
        seed: of the noise that sampling starts from.
    """

    clean: Tensor
    steps: int
    cfg: float
    seed: int = 0

    @property
    def rows(self) -> int:
        return len(self.clean)

    @property
    def noise(self) -> Tensor:
        """Like `clean`, as ComfyUI draws it."""
        import comfy.sample

        noise: Any = comfy.sample.prepare_noise(self.clean.cpu(), self.seed)
        return noise.to(self.clean)


def box(task: Task) -> Tensor:
    """The middle quarter of the picture as a MASK [1, 8 H, 8 W] on the processor: 1 is repainted."""
    rows, columns = (side // 4 for side in task.clean.shape[2:])
    mask = torch.zeros(1, 8 * task.clean.shape[2], 8 * task.clean.shape[3])
    mask[:, 8 * rows : 24 * rows, 8 * columns : 24 * columns] = 1
    return mask


def encoded(clip: Any, text: str) -> Tensor:  # noqa: ANN401
    """[1, 77, D]."""
    return clip.encode_from_tokens_scheduled(clip.tokenize(text))[0][0]


def task_of(pair: Pair, size: int, batch: int, steps: int, cfg: float) -> Task:
    """Pictures of `size` pixels that no one painted: latents of the right spread, smooth over 4 x 4."""
    generator = torch.Generator().manual_seed(1)
    coarse = torch.randn(batch, 4, size // 32, size // 32, generator=generator)
    clean = coarse.repeat_interleave(4, 2).repeat_interleave(4, 3)
    return Task(clean.to(pair.positive), steps, cfg)


def tiny_sd15() -> Pair:
    """The trained miniature, in float32 and in the usual memory format on both sides."""
    import miniatures

    reference, _ = miniatures.reference()
    unet = reference.unet.to(memory_format=torch.contiguous_format)  # pyright: ignore
    model, clip, _ = miniatures.load()
    positive, negative = (encoded(clip, text).clone() for text in (SOURCE, ""))
    unet, positive, negative = (each.to(model.load_device) for each in (unet, positive, negative))
    return Pair(model, clip, unet, positive, negative)


def sd15() -> Pair:
    """SD1.5's full-size layout with random weights; both networks hold the same tensors."""
    import comfy.model_management
    import comfy.utils
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from overhead import full_size_model

    model = full_size_model()
    comfy.model_management.load_models_gpu([model])
    weights = model.model.diffusion_model.state_dict()
    names = comfy.utils.unet_to_diffusers(model.model.model_config.unet_config)
    with torch.device("meta"):
        unet = UNet2DConditionModel(
            sample_size=64, cross_attention_dim=768, attention_head_dim=8, block_out_channels=(320, 640, 1280, 1280)
        )
    unet.load_state_dict({key: weights[names[key]] for key in unet.state_dict()}, assign=True)
    generator = torch.Generator().manual_seed(0)
    positive, negative = (torch.randn(1, 77, 768, generator=generator).to(unet.conv_in.weight) for _ in range(2))
    return Pair(model, None, unet.eval(), positive, negative)


LAYOUTS = {"tiny_sd15": tiny_sd15, "sd15": sd15}
