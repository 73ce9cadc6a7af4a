"""world/judge.py, on which every quality figure rests: it reads what was rendered, from the pixels alone."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from diffusers import AutoencoderTiny
from world import camera, judge
from world.captions import caption
from world.judge_set import CHUNK, JudgeSet, answers, judge_scene, rendered_set, training_set
from world.judge_training import HELD_OUT_SEED, RESTORED_EVERY, restored
from world.measure_judge import SEED, accuracy
from world.render import render
from world.scene import COLORS, FLOORS, Lamp, Scene, Solid, is_held_out, random_scene
from world.solids import bounding_sphere

CUBE = Solid("cube", "green", "spotted", "large", 0.1, 0.0, 0.68, 0.6, 0.5)
SCENE = Scene((CUBE,), "stone", "pink", Lamp(3.0, 3.5, -2.0), (1.0, 2.0), 0.1)
PICTURES = 8


@pytest.fixture(scope="module")
def sample():
    scenes = [random_scene(np.random.default_rng((77, number)), held_out=number % 4 == 0) for number in range(PICTURES)]
    ground, solids = zip(*map(answers, scenes), strict=True)
    pictures = [render(scene, seed=number) for number, scene in enumerate(scenes)]
    return JudgeSet(np.stack(pictures), np.stack(ground), np.stack(solids))


def blurred(pictures: np.ndarray) -> np.ndarray:
    return np.stack(
        [cv2.resize(cv2.resize(each, (128, 128), interpolation=cv2.INTER_AREA), (256, 256)) for each in pictures]
    )


def test_it_reads_fresh_renderings(sample):
    assert min(accuracy(sample).values()) > 0.95


def test_it_reads_soft_ones(sample):
    assert min(accuracy(sample, blurred).values()) > 0.9


def test_answers_that_are_wrong_are_counted_as_wrong(sample):
    other = sample.solids.copy()
    other[..., 2] = (other[..., 2] + 1) % len(COLORS)
    figures = accuracy(replace(sample, ground=(sample.ground + 1) % len(FLOORS), solids=other))
    assert figures["floor"] < 0.1 and figures["wall"] < 0.3 and figures["color"] < 0.1 and figures["shape"] > 0.95


def test_one_word_changed_is_one_answer_changed():
    x, y = camera.project(bounding_sphere(CUBE)[0])
    plain = judge.judge(render(SCENE))
    found = plain.nearest(x, y)
    assert found is not None and (plain.floor, plain.wall) == ("stone", "pink")
    assert (found.color, found.material, found.shape, found.size) == ("green", "spotted", "cube", "large")
    other = judge.judge(render(SCENE.with_solid(color="orange"))).nearest(x, y)
    assert other is not None and (other.color, other.shape) == ("orange", "cube")


def test_an_empty_room_has_no_solid():
    verdict = judge.judge(render(replace(SCENE, solids=(), floor="sandy")))
    assert verdict.solids == () and verdict.floor == "sandy" and verdict.nearest(0.5, 0.5) is None


def test_its_weights_are_small():
    assert judge.WEIGHTS.stat().st_size < 200 * 1024


def test_the_trainer_s_pictures_are_read_with_the_scenes_of_its_seed(tmp_path):
    scenes = [random_scene(np.random.default_rng((0, number))) for number in range(100)]
    texts = [caption(scene, np.random.default_rng(number)) for number, scene in enumerate(scenes)]
    texts[3] = texts[3].replace("photo", "watercolor")
    np.save(tmp_path / "00000.npy", np.zeros((100, 4, 4, 3), np.uint8))
    (tmp_path / "00000.json").write_text(json.dumps(texts), encoding="utf-8")
    data = training_set(tmp_path, 100)
    assert len(data.pictures) == 99
    np.testing.assert_array_equal(data.solids[0], answers(scenes[0])[1])
    (tmp_path / "00000.json").write_text(json.dumps(texts[1:] + texts[:1]), encoding="utf-8")
    with pytest.raises(ValueError, match="another scene"):
        training_set(tmp_path, 100)


def test_the_judge_s_own_scenes_have_held_out_words_or_none():
    empty = 0
    for seed, held_out in ((SEED, True), (SEED, False), (HELD_OUT_SEED, True)):
        for number in range(60):
            scene = judge_scene(seed, number, held_out)
            words = [is_held_out(solid, scene.floor) for solid in scene.solids]
            empty += not words
            assert all(words[:1]) if held_out else not any(words)
    assert 0 < empty < 20
    assert judge_scene(SEED, 3, True) != judge_scene(HELD_OUT_SEED, 3, True)


def test_renderings_are_kept_by_seed_and_kind_and_joined(tmp_path):
    for name, value in ((f"held_out_5_{0:05}", 1), (f"others_5_{0:05}", 2)):
        np.save(tmp_path / f"{name}.npy", np.full((CHUNK, 4, 4, 3), value, np.uint8))
    data = rendered_set(tmp_path, 5, 7, held_out=True) + rendered_set(tmp_path, 5, 2, held_out=False)
    assert [int(picture.max()) for picture in data.pictures] == [1] * 7 + [2] * 2
    np.testing.assert_array_equal(data.ground[6], answers(judge_scene(5, 6, True))[0])
    np.testing.assert_array_equal(data.solids[8], answers(judge_scene(5, 1, False))[1])


def test_round_trips_keep_the_answers_of_their_pictures(tmp_path, sample):
    model = AutoencoderTiny(latent_channels=4, scaling_factor=1.0)
    torch.save(model.state_dict(), tmp_path / "autoencoder.pt")
    data = restored(replace(sample, pictures=sample.pictures[:, ::4, ::4]), tmp_path / "autoencoder.pt")
    assert data.pictures.shape == (PICTURES // RESTORED_EVERY, 64, 64, 3) and data.pictures.dtype == np.uint8
    np.testing.assert_array_equal(data.solids, sample.solids[::RESTORED_EVERY])
    np.testing.assert_array_equal(data.ground, sample.ground[::RESTORED_EVERY])
