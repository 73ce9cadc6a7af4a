"""Edits of photos on the trained miniatures: the judge reads in the result what the prompt asks for, and the rest stays."""

import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import miniatures
import numpy as np
import pytest
import torch
from node_call import run_node
from retrace_pack.host.clip_prompts import encode_rows
from retrace_pack.measuring.compare import compare_images
from retrace_pack.nodes.editing import RetraceEditSample
from retrace_pack.nodes.inpainting import RetraceLatentBlendSample
from retrace_pack.nodes.inversion import RetraceDDIMInvert
from retrace_pack.nodes.masactrl import RetraceMasaCtrl
from retrace_pack.nodes.plug_and_play import RetracePlugAndPlay
from retrace_pack.nodes.prompt_to_prompt import RetracePromptToPrompt
from tiny_models.photos import PHOTOS
from tiny_models.world import camera
from tiny_models.world.edits import Edit
from tiny_models.world.judge import judge
from tiny_models.world.solids import bounding_sphere
from tiny_models.world.truth import Truth, truth_of

BENCHMARKS = Path(__file__).resolve().parent.parent.parent / "benchmarks"
STEPS = 20
ROOM = 8
"""Pixels that are painted over around a solid and its shadow."""


@dataclass(frozen=True)
class Inverted:
    """A photo on a miniature, inverted under its caption."""

    edit: Edit
    truth: Truth
    model: Any
    clip: Any
    vae: Any
    latent: dict[str, torch.Tensor]
    trajectory: Any

    @property
    def photo(self):
        """IMAGE [1, 256, 256, 3]."""
        return torch.from_numpy(self.truth.source[None]).float() / 255

    def words(self, text: str):
        return encode_rows(self.clip, [text])

    def with_words_controlled(self, **settings: Any):
        """(MODEL, CONDITIONING) of Prompt to Prompt, at settings that suit a color."""
        chosen = {"cross_replace": 0.8, "self_replace": 0.8, "blend_threshold": 0.5, "blend_layers": "half", **settings}
        prompts = {"source_prompt": self.edit.before, "target_prompts": self.edit.after}
        return run_node(RetracePromptToPrompt, model=self.model, clip=self.clip, **prompts, **chosen).result

    def sample(self, model: Any, positive: Any, **settings: Any):
        """Edit Sample's picture, IMAGE [1, 256, 256, 3]."""
        given = {"trajectory": self.trajectory, "negative": self.words(""), "cfg": 5.0, **settings}
        edited = run_node(RetraceEditSample, model=model, positive=positive, **given).result[0]["samples"]
        return self.vae.decode(edited)

    def kept(self, picture: torch.Tensor) -> float:
        """PSNR, where the change does not reach, against the photo's round trip through the autoencoder."""
        region = torch.from_numpy(self.truth.kept)[None].float()
        return compare_images(picture, self.vae.decode(self.latent["samples"]), region, "inside").mean_psnr

    def seen(self, picture: torch.Tensor, number: int = 0):
        """(What stands where solid `number` should, the whole verdict)."""
        verdict = judge((picture[0].clamp(0, 1) * 255).round().byte().numpy())
        return verdict.nearest(*camera.project(bounding_sphere(self.edit.target.solids[number])[0])), verdict


@pytest.fixture(scope="module")
def inverted():
    """(Photo, miniature) -> Inverted, each made once."""
    load = cache(miniatures.load)

    @cache
    def get(name: str, miniature: str = "tiny_sd15"):
        (model, clip, vae), edit = load(miniature), PHOTOS[name]
        truth = truth_of(edit)
        with torch.inference_mode():
            latent = {"samples": vae.encode(torch.from_numpy(truth.source[None]).float() / 255)}
            prompts = {"positive": encode_rows(clip, [edit.before]), "negative": encode_rows(clip, [edit.before])}
            settings = {"steps": STEPS, "fixed_point_iterations": 1}
            trajectory = run_node(RetraceDDIMInvert, model=model, latent=latent, **prompts, **settings).result[0]
        return Inverted(edit, truth, model, clip, vae, latent, trajectory)

    return get


@pytest.fixture
def graph_run(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import _graph_run

    yield _graph_run.GraphRun
    del sys.modules["_graph_run"]


def test_a_word_in_place_of_another_changes_the_color_alone(inverted):
    photo = inverted("ball")
    picture = photo.sample(*photo.with_words_controlled(blend_words="auto"))
    ball, verdict = photo.seen(picture)
    assert (ball.color, ball.shape) == ("blue", "ball")
    assert (verdict.floor, verdict.wall) == ("tiled", "green")
    assert photo.kept(picture) > 27


@pytest.mark.parametrize("miniature", ["tiny_sd15", "tiny_sd2_v"])
def test_another_prompt_alone_changes_the_color_and_keeps_the_rest_roughly(inverted, miniature):
    """From step 4 of 20 on and without attention control, as people do it in any sampler."""
    photo = inverted("ball", miniature)
    picture = photo.sample(photo.model, photo.words(photo.edit.after), start_step=4, cfg=4.0)
    ball, verdict = photo.seen(picture)
    assert ball.color == "blue"
    assert (verdict.floor, verdict.wall) == ("tiled", "green")
    assert photo.kept(picture) > 15


def test_plug_and_play_paints_another_wall_behind_the_same_solid(inverted):
    photo = inverted("red cylinder")
    patched = run_node(RetracePlugAndPlay, model=photo.model).result[0]
    picture = photo.sample(patched, photo.words(photo.edit.after), source=photo.words(photo.edit.before))
    cylinder, verdict = photo.seen(picture)
    assert verdict.wall == "blue"
    assert (cylinder.color, cylinder.shape, verdict.floor) == ("red", "cylinder", "tiled")
    assert photo.kept(picture) > 17


def test_masactrl_draws_another_picture_of_the_same_surface(inverted):
    """Which shape it has is not asked for: the miniature draws few shapes well."""
    photo = inverted("cube")
    patched = run_node(RetraceMasaCtrl, model=photo.model, start_step=4, start_layer=0.625).result[0]
    picture = photo.sample(patched, photo.words(photo.edit.after), source=photo.words(photo.edit.before))
    solid, verdict = photo.seen(picture)
    assert (solid.color, solid.material) == ("blue", "spotted")
    assert (verdict.floor, verdict.wall) == ("tiled", "green")
    assert photo.kept(picture) > 17
    inside = torch.from_numpy(photo.truth.objects)
    assert float((picture[0] - photo.photo[0]).abs()[inside].mean()) > 0.05


def test_latent_blend_removes_what_is_painted_over(inverted):
    photo = inverted("two cylinders")
    inside = (photo.truth.objects | photo.truth.shadows).astype(np.uint8)
    painted = torch.from_numpy(cv2.dilate(inside, np.ones((2 * ROOM + 1, 2 * ROOM + 1))))[None].float()
    blended = run_node(
        RetraceLatentBlendSample,
        model=photo.model,
        positive=photo.words(photo.edit.after),
        negative=photo.words(""),
        latent=photo.latent,
        seed=1,
        steps=STEPS,
        kept_from="trajectory",
        trajectory=photo.trajectory,
        mask=painted,
    ).result[0]["samples"]
    picture = photo.vae.decode(blended)
    cylinder, verdict = photo.seen(picture)
    assert len(verdict.solids) == 1 and (cylinder.color, cylinder.shape) == ("red", "cylinder")
    assert (verdict.floor, verdict.wall) == ("wooden", "beige")
    assert photo.kept(picture) > 27


def test_edit_image_changes_the_color_and_leaves_the_photo_as_it_is(inverted, graph_run):
    """The node with its defaults: what it did not change are the photo's own pixels."""
    photo = inverted("ball")
    given = {"model": photo.model, "clip": photo.clip, "vae": photo.vae, "photo": photo.photo}
    links = {"model": ["model", 0], "clip": ["clip", 0], "vae": ["vae", 0], "image": ["photo", 0]}
    words = {"before": photo.edit.before, "after": photo.edit.after, "steps": STEPS, "working_size": 256}
    run = graph_run({"easy": {"class_type": "RetraceEditImage", "inputs": {**links, **words}}}, given)
    picture = run.value(["easy", 0])
    ball, verdict = photo.seen(picture)
    assert (ball.color, ball.shape, verdict.floor, verdict.wall) == ("blue", "ball", "tiled", "green")
    region = torch.from_numpy(photo.truth.kept)[None].float()
    assert compare_images(picture, photo.photo, region, "inside").mean_psnr > 35
