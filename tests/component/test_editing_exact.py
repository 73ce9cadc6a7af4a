"""Edit Sample on state pairs and noise maps: under the source prompt it returns the latent."""

import math
from dataclasses import replace

import pytest
import torch
from node_call import run_node
from retrace_pack.nodes.trajectory import RetraceTrajectoryLatent

EXACT, SOLVERS = ["o-belm", "bdia", "edict"], ["ddpm", "dpm++ 2m"]
MIDDLE, CFG = 3, 7.5


def decibel(task, samples):
    return 10 * math.log10(float(task.samples.square().mean()) / max(task.error(samples), 1e-30))


@pytest.mark.parametrize("cfg", [1.0, CFG])
@pytest.mark.parametrize("method", EXACT)
def test_an_exact_method_gives_the_latent_back(random_task, method, cfg):
    task = random_task(images=2)
    trajectory = task.exact(method, cfg)
    for start_step in (0, MIDDLE):
        rebuilt = task.edit(trajectory, cfg=cfg, start_step=start_step)[0]
        assert task.error(rebuilt) <= 1e-8
    assert task.error(task.edit(trajectory, task.target, cfg=cfg)[0]) > 1e-4


@pytest.mark.parametrize("method", EXACT)
def test_an_exact_method_is_exact_on_a_trained_model(trained, method):
    task = replace(trained(), steps=8)
    rebuilt = task.edit(task.exact(method, task.cfg))[0]
    assert task.error(rebuilt) <= 1e-8
    assert task.psnr(rebuilt) >= 60


@pytest.mark.parametrize("cfg", [1.0, CFG])
@pytest.mark.parametrize("solver", SOLVERS)
def test_noise_maps_give_the_latent_back(random_task, solver, cfg):
    task = random_task(images=2)
    trajectory = task.edit_friendly(solver, cfg)
    for start_step in (0, MIDDLE):
        rebuilt = task.edit(trajectory, cfg=cfg, start_step=start_step)[0]
        assert decibel(task, rebuilt) >= 60
    assert decibel(task, task.edit(trajectory, task.target, cfg=cfg)[0]) < 60


@pytest.mark.parametrize("solver", SOLVERS)
def test_noise_maps_are_exact_on_a_trained_model(trained, solver):
    task = replace(trained(), steps=8)
    trajectory = task.edit_friendly(solver, task.cfg)
    for start_step in (0, 3):
        rebuilt = task.edit(trajectory, start_step=start_step)[0]
        assert task.error(rebuilt) <= 1e-8
        assert task.psnr(rebuilt) >= 60


@pytest.mark.parametrize("layout", ["sd2_v", "sdxl"])
def test_exact_on_other_layouts(random_task, layout):
    task = random_task(layout)
    assert task.error(task.edit(task.exact("o-belm", task.cfg))[0]) <= 1e-8
    assert decibel(task, task.edit(task.edit_friendly("dpm++ 2m", task.cfg))[0]) >= 60


def test_the_source_row_of_an_exact_edit_rebuilds_itself(task):
    for trajectory in (task.exact("o-belm", task.cfg), task.edit_friendly("ddpm", task.cfg)):
        edited, source = task.edit(trajectory, task.target, source=task.source)
        assert decibel(task, source) >= 60
        assert edited.shape == task.samples.shape and task.error(edited) > 1e-4
        torch.testing.assert_close(edited, task.edit(trajectory, task.target)[0], rtol=1e-3, atol=1e-3)


def test_a_latent_alone_is_not_enough_for_pairs_and_noise_maps(task):
    for trajectory, kind in (
        (task.exact("edict"), "edict and continues from its pair"),
        (task.edit_friendly("ddpm"), "edit-friendly and continues from its noise maps"),
    ):
        with pytest.raises(ValueError, match=f"Trajectory Latent: .* by {kind}, .* continue it with Edit Sample"):
            run_node(RetraceTrajectoryLatent, trajectory=trajectory)
        with pytest.raises(ValueError, match="Edit Sample: pull_back is 0.5, but a trajectory by .* set it to 0"):
            task.edit(trajectory, pull_back=0.5)
