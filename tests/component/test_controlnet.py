"""The miniature ControlNet with ComfyUI's own loader and nodes, under UniPC, guided by this pack's hints."""

from pathlib import Path

import comfy.controlnet
import comfy.sample
import comfy.samplers
import comfy.sd
import layouts
import numpy as np
import pytest
import scenes
import torch
from judge import judge, object_region
from node_call import run_node
from retrace_pack.nodes.hints import RetracePreprocessor

import nodes

TINY = Path(__file__).resolve().parent.parent / "tiny_sd"
SCENES, STEPS, CFG = 6, 20, 5.0
CANNY = {"method": "canny", "low_threshold": 60, "high_threshold": 140, "aperture": 3, "l2_gradient": False}


@pytest.fixture(scope="module")
def led():
    """(The scenes, pictures drawn with their edges, pictures drawn without), both uint8 [B, 128, 128, 3]."""
    layouts.register()
    rng = np.random.default_rng(11)
    chosen = [scenes.random_scene(rng, held_out=True) for _ in range(SCENES)]
    pictures = torch.from_numpy(np.stack([scenes.render(scene) for scene in chosen])).float() / 255
    with torch.inference_mode():
        model, clip, vae = comfy.sd.load_checkpoint_guess_config(str(TINY / "tiny_sd15.safetensors"))[:3]
        control = comfy.controlnet.load_controlnet(str(TINY / "tiny_controlnet.safetensors"))
        hints = run_node(RetracePreprocessor, image=pictures, method=dict(CANNY)).result[0]
        positive, negative = (
            [[torch.cat([clip.encode_from_tokens_scheduled(clip.tokenize(text))[0][0] for text in texts]), {}]]
            for texts in ([scene.caption for scene in chosen], [""] * SCENES)
        )
        apply = nodes.ControlNetApplyAdvanced().apply_controlnet
        results = []
        for conditions in (apply(positive, negative, control, hints, 1.0, 0.0, 1.0), (positive, negative)):
            empty = torch.zeros(SCENES, 4, 16, 16)
            noise = comfy.sample.prepare_noise(empty, 5)
            samples = comfy.sample.sample(
                model, noise, STEPS, CFG, "uni_pc", "ddim_uniform", *conditions, empty, disable_pbar=True
            )
            results.append((vae.decode(samples).clamp(0, 1) * 255).round().byte().numpy())
    return chosen, *results


def overlap(chosen, pictures) -> float:
    """Mean intersection over union of the drawn objects with the scenes' own."""
    pairs = [
        (scenes.object_mask(scene), object_region(picture)) for scene, picture in zip(chosen, pictures, strict=True)
    ]
    return float(np.mean([(mask & drawn).sum() / (mask | drawn).sum() for mask, drawn in pairs]))


def test_what_is_drawn_lies_within_the_edges(led):
    chosen, along_edges, freely = led
    assert overlap(chosen, along_edges) > 0.75
    assert overlap(chosen, freely) < 0.4


def test_the_prompts_colors_stay(led):
    chosen, along_edges, _ = led
    right = [judge(picture).color == scene.objects[0].color for scene, picture in zip(chosen, along_edges, strict=True)]
    assert sum(right) >= SCENES - 1
