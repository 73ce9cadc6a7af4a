"""Null embeddings reconstruct the image: in Edit Sample, in stock samplers, from a file, for every kind of model."""

from dataclasses import replace

import pytest
import torch
from node_call import run_node
from retrace_pack.host.negative import null_text_conditioning
from retrace_pack.inversion.trajectory_file import load_trajectory, save_trajectory
from retrace_pack.nodes.null_text import RetraceNullTextConditioning
from retrace_pack.nodes.trajectory import RetraceTrajectoryLatent


@pytest.fixture(scope="module")
def optimized(trained):
    """The node's outputs for the scene: (trajectory, negative, plot of the losses)."""
    with torch.inference_mode():
        return trained().optimize_node(trained().invert())


def test_the_node_gives_embeddings_a_conditioning_and_a_plot(trained, optimized):
    task = trained()
    trajectory, negative, plot = optimized
    null_text = trajectory.null_text
    assert null_text.embeddings.shape == (task.steps, *task.negative[0][0].shape[1:]) and null_text.cfg == task.cfg
    assert null_text.residuals is None
    assert [entry[1]["start_percent"] for entry in negative] == [
        0.0,
        *(entry[1]["end_percent"] for entry in negative[:-1]),
    ]
    # The entries go from the noise to the image, the embeddings from the image.
    assert torch.equal(torch.cat([entry[0] for entry in negative]), null_text.embeddings.flip(0))
    assert plot.ndim == 4 and plot.shape[-1] == 3 and 0 <= float(plot.min()) < float(plot.max()) <= 1
    tensors = [null_text.embeddings, plot, *(entry[0] for entry in negative)]
    assert not any(tensor.requires_grad or tensor.grad_fn is not None for tensor in tensors)


@pytest.mark.parametrize("start_step", [0, 4])
@pytest.mark.parametrize("sampler_name", ["euler", "ddim"])
def test_k_sampler_advanced_reconstructs_as_edit_sample(trained, optimized, relative, sampler_name, start_step):
    task = trained()
    trajectory, negative, _ = optimized
    ours = task.edit(trajectory, start_step=start_step)[0]
    stock = task.k_sampler(trajectory, negative, sampler_name=sampler_name, start_step=start_step)
    assert relative(stock, ours) < 1e-4
    plain = task.k_sampler(trajectory, sampler_name=sampler_name, start_step=start_step)
    assert task.error(stock) < 0.5 * task.error(plain)


def test_sampler_custom_advanced_reconstructs_as_edit_sample(trained, optimized, relative):
    from comfy_extras.nodes_custom_sampler import CFGGuider, DisableNoise, KSamplerSelect, SamplerCustomAdvanced

    task = trained()
    trajectory, negative, _ = optimized
    latent, sigmas = run_node(RetraceTrajectoryLatent, trajectory=trajectory, start_step=5).result
    (noise,), (sampler,) = DisableNoise.execute().result, KSamplerSelect.execute("euler").result
    (guider,) = CFGGuider.execute(task.model, task.source, negative, task.cfg).result
    stock = SamplerCustomAdvanced.execute(noise, guider, sampler, sigmas, latent).result[0]["samples"]
    assert relative(stock, task.edit(trajectory, start_step=5)[0]) < 1e-4


def test_a_saved_and_loaded_trajectory_gives_the_same_conditioning(trained, optimized, tmp_path):
    task = trained()
    trajectory, negative, _ = optimized
    save_trajectory(trajectory, tmp_path, ["cat.safetensors"])
    loaded = load_trajectory(tmp_path / "cat.safetensors")
    again = run_node(RetraceNullTextConditioning, trajectory=loaded).result[0]
    for (embedding, settings), (other, others) in zip(again, negative, strict=True):
        assert torch.equal(embedding, other)
        for bound in ("start_percent", "end_percent"):
            assert settings[bound] == others[bound]
    assert torch.equal(task.k_sampler(loaded, again), task.k_sampler(trajectory, negative))
    carried = run_node(
        RetraceNullTextConditioning, trajectory=loaded, negative=[[task.negative[0][0], {"strength": 0.5}]]
    ).result[0]
    assert all(entry[1]["strength"] == 0.5 for entry in carried)
    with pytest.raises(ValueError, match="^Null Text Conditioning: negative has 2 rows"):
        run_node(RetraceNullTextConditioning, trajectory=loaded, negative=[[task.negative[0][0].repeat(2, 1, 1), {}]])


def test_a_plain_trajectory_has_no_conditioning_to_give(trained):
    trajectory = replace(trained(), steps=2).invert()
    with pytest.raises(
        ValueError, match="Null Text Conditioning: the trajectory has no null embeddings; send it through"
    ):
        run_node(RetraceNullTextConditioning, trajectory=trajectory)


def test_a_residual_makes_the_reconstruction_exact(trained):
    task = trained()
    optimized = task.optimize_node(task.invert(), inner_steps=2, residual=True)[0]
    assert optimized.null_text.residuals.shape == (task.steps, *task.samples.shape)
    for start_step in (0, 4):
        rebuilt = task.edit(optimized, start_step=start_step)[0]
        torch.testing.assert_close(rebuilt, task.samples, rtol=1e-5, atol=1e-5)
    # The same embeddings by way of a CONDITIONING are the same path.
    assert torch.equal(task.edit(optimized, negative=null_text_conditioning(optimized, None), start_step=4)[0], rebuilt)


@pytest.mark.parametrize(
    "changes", [{"cfg": 1.0}, {"cfg": 5.0}, {"negative": True}], ids=["cfg 1", "cfg 5", "a negative"]
)
def test_residuals_are_for_the_steps_that_they_were_made_for(task, changes):
    """Under another guidance or another negative they are left alone, as if there were none."""
    optimized, _ = task.optimize(task.invert(), keep_residual=True)
    without = replace(optimized, null_text=replace(optimized.null_text, residuals=None))
    changes = {**changes, "negative": task.negative} if "negative" in changes else changes
    assert torch.equal(task.edit(optimized, **changes)[0], task.edit(without, **changes)[0])
    assert not torch.equal(task.edit(optimized)[0], task.edit(without)[0])


def test_at_cfg_1_no_null_embedding_is_asked(task):
    trajectory = task.invert()
    optimized, _ = task.optimize(trajectory)
    assert torch.equal(task.edit(optimized, cfg=1.0)[0], task.edit(trajectory, cfg=1.0)[0])


def test_v_prediction(trained, relative):
    task = trained("tiny_sd2_v")
    trajectory = task.invert()
    optimized, negative, _ = task.optimize_node(trajectory)
    rebuilt = task.edit(optimized)[0]
    assert task.psnr(rebuilt) > task.psnr(task.edit(trajectory)[0]) + 3
    assert relative(task.k_sampler(optimized, negative), rebuilt) < 1e-4


def test_the_pooled_embedding_of_sdxl_stays_fixed_and_travels(short_task, relative, tmp_path):
    task = short_task("sdxl")
    trajectory = task.invert()
    optimized, conditioning, _ = task.optimize_node(trajectory)
    pooled = task.negative[0][1]["pooled_output"]
    assert all(torch.equal(entry[1]["pooled_output"], pooled) for entry in conditioning)
    save_trajectory(optimized, tmp_path, ["cat.safetensors"])
    loaded = load_trajectory(tmp_path / "cat.safetensors")
    rebuilt = task.edit(loaded)[0]
    assert relative(task.k_sampler(optimized, conditioning), rebuilt) < 1e-4
    assert task.error(rebuilt) < 0.5 * task.error(task.edit(trajectory)[0])
    changed = [[entry[0], {**entry[1], "pooled_output": pooled + 1}] for entry in conditioning]
    assert not torch.allclose(task.edit(trajectory, negative=changed)[0], rebuilt, rtol=1e-2)
