"""The miniature ControlNet with ComfyUI's own loader and nodes, under UniPC, guided by this pack's hints."""

import comfy.controlnet
import comfy.sample
import cv2
import miniatures
import numpy as np
import pytest
import torch
from node_call import run_node
from retrace_pack.nodes.hints import RetracePreprocessor
from tiny_models.world import camera
from tiny_models.world.captions import caption
from tiny_models.world.judge import judge_all
from tiny_models.world.render import render
from tiny_models.world.scene import random_scene
from tiny_models.world.solids import bounding_sphere
from tiny_models.world.truth import object_mask

import nodes

SCENES, STEPS, CFG = 4, 20, 5.0
CANNY = {"method": "canny", "low_threshold": 60, "high_threshold": 140, "aperture": 3, "l2_gradient": False}


@pytest.fixture(scope="module")
def led():
    """(The scenes, pictures drawn with their edges, pictures drawn without), both uint8 [B, 256, 256, 3]."""
    chosen = [random_scene(np.random.default_rng((11, index)), 1, held_out=True) for index in range(SCENES)]
    pictures = torch.from_numpy(np.stack([render(scene) for scene in chosen])).float() / 255
    with torch.inference_mode():
        model, clip, vae = miniatures.load()
        control = comfy.controlnet.load_controlnet(str(miniatures.PARTS / "tiny_controlnet.safetensors"))
        hints = run_node(RetracePreprocessor, image=pictures, method=dict(CANNY)).result[0]
        positive, negative = (
            [[torch.cat([clip.encode_from_tokens_scheduled(clip.tokenize(text))[0][0] for text in texts]), {}]]
            for texts in ([caption(scene) for scene in chosen], [""] * SCENES)
        )
        apply = nodes.ControlNetApplyAdvanced().apply_controlnet
        results = []
        for conditions in (apply(positive, negative, control, hints, 1.0, 0.0, 1.0), (positive, negative)):
            empty = torch.zeros(SCENES, 4, 32, 32)
            noise = comfy.sample.prepare_noise(empty, 5)
            samples = comfy.sample.sample(
                model, noise, STEPS, CFG, "uni_pc", "ddim_uniform", *conditions, empty, disable_pbar=True
            )
            results.append((vae.decode(samples).clamp(0, 1) * 255).round().byte().numpy())
    return chosen, *results


def outlined(scene, picture) -> float:
    """How steep a picture is along the outline of the scene's solid, relative to the whole picture.

    On renderings 2.0 to 5.2, and 1.6 (at most 2.7) along the outline of another scene's solid.
    """
    gray = cv2.GaussianBlur(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), (0, 0), 1.2)
    slope = np.hypot(cv2.Sobel(gray, cv2.CV_32F, 1, 0), cv2.Sobel(gray, cv2.CV_32F, 0, 1))
    solid, brush = object_mask(scene, 0).astype(np.uint8), np.ones((3, 3), np.uint8)
    outline = cv2.dilate(solid, brush) > cv2.erode(solid, brush)
    return float(slope[outline].mean() / slope.mean())


@pytest.mark.xfail(strict=True, reason="the ControlNet needs more training: 2.2 for 2.6")
def test_what_is_drawn_lies_within_the_edges(led):
    chosen, *both = led
    along_edges, freely = (
        np.mean([outlined(scene, picture) for scene, picture in zip(chosen, pictures, strict=True)])
        for pictures in both
    )
    assert along_edges > 2.6 and freely < 2.1


def test_the_prompts_words_stand_where_the_edges_are(led):
    chosen, along_edges, _ = led
    right = 0
    for verdict, scene in zip(judge_all(along_edges), chosen, strict=True):
        solid = scene.solids[0]
        found = verdict.nearest(*camera.project(bounding_sphere(solid)[0]), reach=0.1)
        right += found is not None and (found.color, found.shape) == (solid.color, solid.shape)
    assert right >= SCENES // 2
