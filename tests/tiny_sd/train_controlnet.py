"""Train the ControlNet of tiny_sd15: edges -> image, in the layout that ComfyUI's ControlNetLoader takes.

    .dev/venv/bin/python tests/tiny_sd/train_controlnet.py [--iterations 2400] [--output FILE]

Starts as a copy of the frozen UNet's encoder (Zhang et al. 2023, arXiv 2302.05543). Half of the captions are dropped, so
that the edges alone must tell the shape. Seeded, with a progress bar. `COMFYUI_PATH` names the ComfyUI tree.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
os.environ.setdefault("COMFYUI_PATH", str(HERE.parent.parent / ".dev" / "ComfyUI-0.30.0"))
sys.path.insert(0, os.environ["COMFYUI_PATH"])

from comfy.cli_args import args as comfy_arguments  # noqa: E402

comfy_arguments.cpu = not torch.cuda.is_available()

import checkpoint  # noqa: E402
import comfy.sd  # noqa: E402
import comfy.utils  # noqa: E402
import cv2  # noqa: E402
import layouts  # noqa: E402
import numpy as np  # noqa: E402
import scenes  # noqa: E402
from captions import vocabulary  # noqa: E402
from diffusers import ControlNetModel, DDIMScheduler  # noqa: E402
from diffusion import SECOND_OBJECT_FRACTION, SNR_KNEE, TextToLatent  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from torch import Tensor  # noqa: E402
from tqdm import trange  # noqa: E402

SEED, SCENES, BATCH, ENCODE_BATCH = 0, 2400, 8, 8
LEARNING_RATE = 4e-4
EMPTY_CAPTION_FRACTION = 0.5
CANNY_THRESHOLDS = (60, 140)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--iterations", type=int, default=2400)
    parser.add_argument("--scenes", type=int, default=SCENES)
    parser.add_argument("--output", type=Path, default=HERE / "tiny_controlnet.safetensors")
    options = parser.parse_args()
    torch.manual_seed(SEED)
    source = HERE / "tiny_sd15.safetensors"
    words = vocabulary()
    model, _ = checkpoint.load_for_diffusers(source, False, words)
    latents, edges, captions = encoded_scenes(source, options.scenes)
    rows = words.rows([*captions, ""], pad_with_end=True)
    network = train(model, latents, edges, rows, options.iterations)
    save_file(comfyui_names(network), options.output)


@torch.no_grad()
def encoded_scenes(source: Path, count: int) -> tuple[Tensor, Tensor, list[str]]:
    """Latents [N, 4, 16, 16] in the UNet's scale, edges uint8 [N, 1, 128, 128], and captions; no held-out words."""
    layouts.register()
    vae = comfy.sd.load_checkpoint_guess_config(str(source), output_model=False, output_clip=False)[2]
    rng = np.random.default_rng(SEED)
    chosen = [scenes.random_scene(rng, False, bool(rng.random() < SECOND_OBJECT_FRACTION)) for _ in range(count)]
    latents, edges = [], []
    for start in trange(0, count, ENCODE_BATCH, desc="latents", mininterval=5):
        pictures = [scenes.render(scene) for scene in chosen[start : start + ENCODE_BATCH]]
        latents.append(vae.encode(torch.from_numpy(np.stack(pictures)).float() / 255).float().clone())
        edges.extend(torch.from_numpy(edge_hint(picture))[None] for picture in pictures)
    return torch.cat(latents) * checkpoint.SCALING_FACTOR, torch.stack(edges), [scene.caption for scene in chosen]


def edge_hint(picture: np.ndarray) -> np.ndarray:
    """White Canny edges of a uint8 [H, W, 3] picture on black, uint8 [H, W]."""
    return cv2.Canny(picture, *CANNY_THRESHOLDS)


def train(model: TextToLatent, latents: Tensor, edges: Tensor, rows: Tensor, iterations: int) -> ControlNetModel:
    """Fit epsilon with the UNet and the text encoder frozen; `rows` holds the tokens of each caption and, last, of none."""
    scheduler = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    alphas = scheduler.alphas_cumprod
    network = ControlNetModel.from_unet(model.unet).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.99), weight_decay=0.01)
    rates = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, iterations)
    progress, smooth = trange(iterations, desc="controlnet", mininterval=5), 1.0
    for step in progress:
        index = torch.randint(len(latents), (BATCH,))
        captioned = torch.rand(BATCH) >= EMPTY_CAPTION_FRACTION
        context = model.text_encoder(torch.where(captioned[:, None], rows[index], rows[-1:])).last_hidden_state
        timesteps = ((torch.arange(BATCH) + torch.rand(BATCH)) * (1000 / BATCH)).long()
        noise = torch.randn(BATCH, *latents.shape[1:])
        noisy = scheduler.add_noise(latents[index], noise, timesteps)  # pyright: ignore
        hint = (edges[index].float() / 255).expand(-1, 3, -1, -1)
        down, middle = network(noisy, timesteps, context, hint, return_dict=False)
        predicted = model.unet(
            noisy, timesteps, context, down_block_additional_residuals=down, mid_block_additional_residual=middle
        ).sample
        snr = alphas[timesteps] / (1 - alphas[timesteps])
        weight = (snr.clamp(max=SNR_KNEE) / snr).sqrt()
        loss = (weight * (predicted - noise).square().mean(dim=(1, 2, 3))).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        rates.step()
        smooth += (loss.item() - smooth) / min(step + 1, 100)
        progress.set_postfix(loss=f"{smooth:.4f}", refresh=False)
    return network.eval()


def comfyui_names(network: ControlNetModel) -> dict[str, Tensor]:
    """The weights in fp16 under the names of the original ControlNet."""
    names = dict(comfy.utils.unet_to_diffusers(checkpoint.UNET_SHAPE))
    renamed = {}
    for key, value in network.state_dict().items():
        part, _, rest = key.partition(".")
        if part == "controlnet_cond_embedding":
            layer, _, kind = rest.rpartition(".")
            last = 2 * len(network.controlnet_cond_embedding.blocks) + 2
            position = {"conv_in": 0, "conv_out": last}.get(layer)
            position = 2 * (int(layer.split(".")[1]) + 1) if position is None else position
            renamed[f"input_hint_block.{position}.{kind}"] = value
        elif part == "controlnet_down_blocks":
            number, _, kind = rest.partition(".")
            renamed[f"zero_convs.{number}.0.{kind}"] = value
        elif part == "controlnet_mid_block":
            renamed[f"middle_block_out.0.{rest}"] = value
        else:
            renamed[names[key]] = value
    return {key: value.detach().half().contiguous() for key, value in renamed.items()}


if __name__ == "__main__":
    main()
