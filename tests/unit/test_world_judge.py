"""world/judge.py, on which every quality figure rests: it reads what was rendered, from the pixels alone."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
from world import camera, judge
from world.captions import caption
from world.judge_set import JudgeSet, answers, training_set
from world.measure_judge import accuracy
from world.render import render
from world.scene import COLORS, FLOORS, Lamp, Scene, Solid, random_scene
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
