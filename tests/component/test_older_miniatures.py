"""What the older miniatures of flat shapes reach and the first still-life models do not yet: edits as the judge reads them.

These tests go when the final still-life models pass the same.
"""

from functools import cache
from pathlib import Path

import comfy.sd
import layouts
import numpy as np
import pytest
import scenes
import torch
from judge import judge
from node_call import run_node
from retrace_pack.measuring.compare import compare_images
from retrace_pack.nodes.ddim_sample import RetraceDDIMSample
from retrace_pack.nodes.editing import RetraceEditSample
from retrace_pack.nodes.inversion import RetraceDDIMInvert
from retrace_pack.nodes.prompt_to_prompt import RetracePromptToPrompt
from retrace_pack.nodes.trajectory import RetraceTrajectoryLatent

TINY = Path(__file__).resolve().parent.parent / "tiny_sd"
SOURCE = "a large red circle on a blue background"
STEPS = 20


@pytest.fixture(scope="module")
def tiny():
    """Checkpoint name -> (MODEL, CLIP, VAE), each loaded once."""
    layouts.register()

    @cache
    def get(name: str = "tiny_sd15"):
        with torch.inference_mode():
            return comfy.sd.load_checkpoint_guess_config(str(TINY / f"{name}.safetensors"))[:3]

    return get


def encode(clip, texts):
    """One row for each text."""
    rows = [clip.encode_from_tokens_scheduled(clip.tokenize(text))[0][0] for text in texts]
    return [[torch.cat(rows), {}]]


def invert(model, positive, samples):
    prompts = {"positive": positive, "negative": positive}
    settings = {"steps": STEPS, "fixed_point_iterations": 1}
    return run_node(RetraceDDIMInvert, model=model, latent={"samples": samples}, **prompts, **settings).result[0]


def shown(picture):
    return judge((picture * 255).round().clamp(0, 255).byte().cpu().numpy())


def as_image(chosen):
    """IMAGE [B, 128, 128, 3]."""
    return torch.from_numpy(np.stack([scenes.render(scene) for scene in chosen])).float() / 255


def held_out(count):
    rng = np.random.default_rng(11)
    return [scenes.random_scene(rng, held_out=True) for _ in range(count)]


@pytest.fixture(scope="module")
def controlled(tiny):
    """Prompt to Prompt's settings -> a red circle edited, its latent and the source's; and which cells are the circle's."""
    model, clip, vae = tiny()
    circle = scenes.SceneObject("circle", "red", "large", 50.0, 75.0, 36.0)
    scene = scenes.Scene((circle,), "blue", 0.1, 0.3)
    with torch.inference_mode():
        trajectory = invert(model, encode(clip, [scene.caption]), vae.encode(as_image([scene])))

    def edit(**settings):
        prompts = {"source_prompt": SOURCE, "self_replace": 0.8, **settings}
        changed, positive = run_node(RetracePromptToPrompt, model=model, clip=clip, **prompts).result
        given = {"trajectory": trajectory, "positive": positive, "negative": encode(clip, [""]), "cfg": 5.0}
        edited, source = (each["samples"] for each in run_node(RetraceEditSample, model=changed, **given).result)
        return vae.decode(edited)[0], edited, source

    return edit, torch.from_numpy(scenes.object_mask(scene)[4::8, 4::8])


def test_a_blended_word_changes_the_color(controlled):
    edit, _ = controlled
    picture, *_ = edit(target_prompts=SOURCE.replace("red", "green"), blend_words="circle", blend_threshold=0.6)
    assert shown(picture).color == "green"


def test_a_new_background_leaves_the_subtracted_object(controlled):
    edit, inside = controlled
    target = SOURCE.replace("blue", "yellow")
    picture, edited, source = edit(target_prompts=target, subtract_words="circle", subtract_threshold=0.5)
    assert (shown(picture).background, shown(picture).color) == ("yellow", "red")
    kept = (edited[0] == source[0])[0]
    assert float(kept[inside].float().mean()) > 0.7 > 0.3 > float(kept[~inside].float().mean())


@pytest.mark.parametrize("name", ["tiny_sd15", "tiny_sd2_v"])
def test_an_edit_changes_the_word_and_keeps_the_background(tiny, name):
    """Four held-out scenes, the object's color changed: what the picture shows, and what became of the rest."""
    model, clip, vae = tiny(name)
    chosen = held_out(4)
    colors = [next(c for c in ("green", "red", "white") if c not in (s.objects[0].color, s.background)) for s in chosen]
    targets = [scene.with_object(color=color).caption for scene, color in zip(chosen, colors, strict=True)]
    samples = vae.encode(as_image(chosen))
    trajectory = invert(model, encode(clip, [scene.caption for scene in chosen]), samples)
    latent = run_node(RetraceTrajectoryLatent, trajectory=trajectory, start_step=2).result[0]
    prompts = {"positive": encode(clip, targets), "negative": encode(clip, [""] * 4)}
    settings = {"steps": STEPS, "cfg": 4.0, "start_step": 2}
    edited = run_node(RetraceDDIMSample, model=model, latent=latent, **prompts, **settings).result[0]["samples"]
    pictures = vae.decode(edited)
    verdicts = [shown(picture) for picture in pictures]
    assert sum(v.color == c for v, c in zip(verdicts, colors, strict=True)) >= 3
    assert sum(v.background == s.background for v, s in zip(verdicts, chosen, strict=True)) >= 3
    outside = torch.stack([torch.from_numpy(scenes.object_mask(scene)) for scene in chosen]).float()
    assert compare_images(pictures, vae.decode(samples), outside, "outside").mean_psnr > 15


def test_the_autoencoder_keeps_32_decibels(tiny):
    _, _, vae = tiny()
    pictures = as_image(held_out(24))
    assert compare_images(vae.decode(vae.encode(pictures)), pictures).mean_psnr >= 32
