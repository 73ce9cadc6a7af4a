"""Edit Sample for every kind of trajectory, and the guidance that reconstructs without optimisation."""

import logging
import math
from dataclasses import replace
from pathlib import Path

import comfy.sample
import comfy.samplers
import numpy as np
import pytest
import torch
from random_models import random_conditioning
from retrace_pack.host.conditioning import stack_rows
from retrace_pack.host.editing import AFTER_STEP, ANNOUNCEMENT
from retrace_pack.inversion.trajectory import NullEmbeddings
from retrace_pack.measuring.compare import compare_images
from retrace_pack.nodes.editing import RetraceEditSample
from retrace_pack.nodes.exact_inversion import RetraceEditFriendlyInvert, RetraceExactInvert
from retrace_pack.nodes.inversion import RetraceDDIMInvert
from retrace_pack.nodes.reconstruction import RetraceNegativePrompt, RetraceProximalGuidance
from retrace_pack.nodes.trajectory import RetraceTrajectoryLatent
from retrace_pack.samplers.proximal import shrink

import nodes

TINY = Path(__file__).resolve().parent.parent / "tiny_sd"
LAYOUTS = ["sd15", "sd2_v", "sdxl"]
EXACT, SOLVERS = ["o-belm", "bdia", "edict"], ["ddpm", "dpm++ 2m"]
STEPS, MIDDLE, CFG = 8, 3, 7.5


class Task:
    """A model with the prompts of a test and the latents of an image (or two)."""

    def __init__(self, model, source, target, negative, samples):
        self.model, self.source, self.target, self.negative = model, source, target, negative
        self.samples = samples

    @property
    def guided(self):
        """What every inversion takes first."""
        return self.model, self.source, self.negative, {"samples": self.samples}

    def plain(self, samples=None):
        latent = {"samples": self.samples if samples is None else samples}
        return RetraceDDIMInvert.execute(
            self.model, self.source, self.source, latent, STEPS, 1.0, 2, "leading", "clean"
        ).result[0]

    def exact(self, method, cfg=1.0):
        return RetraceExactInvert.execute(*self.guided, method, STEPS, cfg, 0.93, 1.0, "leading", "clean").result[0]

    def edit_friendly(self, solver, cfg=3.5, seed=0):
        return RetraceEditFriendlyInvert.execute(
            *self.guided, seed, STEPS, cfg, solver, 1.0, "leading", "clean"
        ).result[0]

    def edit(self, trajectory, positive=None, **changes):
        """The node's two LATENTs as tensors: (edit, source)."""
        inputs = {
            "cfg": CFG, "start_step": 0, "hold_source": True, "pull_back": 0.0, "pull_back_below": 999,
            "pull_back_quantile": 0.7, "pull_back_dilation": 0, "negative": self.negative, "source": None,
        }  # fmt: skip
        output = RetraceEditSample.execute(
            changes.pop("model", self.model), trajectory, positive or self.source, **{**inputs, **changes}
        )
        return tuple(latent["samples"] for latent in output.result)

    def hooked(self, *hooks):
        """The model with functions that Edit Sample calls after each step."""
        model = self.model.clone()
        model.model_options["transformer_options"][AFTER_STEP] = list(hooks)
        return model


def random_task(models, layout="sd15", images=1):
    model = models(layout)[0]
    # As large as the latents of pictures, which decibels are measured against.
    samples = 5 * torch.randn(images, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    return Task(model, *(random_conditioning(model, seed) for seed in (1, 2, 3)), samples)


@pytest.fixture
def task(models):
    return random_task(models)


@pytest.fixture(scope="module")
def trained():
    """A held-out scene in tiny_sd15: (Task, PSNR of a latent against the VAE's round trip)."""
    import comfy.sd
    import layouts
    import scenes

    layouts.register()
    with torch.inference_mode():
        model, clip, vae = comfy.sd.load_checkpoint_guess_config(str(TINY / "tiny_sd15.safetensors"))[:3]
        scene = scenes.random_scene(np.random.default_rng(3), held_out=True)
        colour = "green" if scene.objects[0].colour != "green" else "red"
        captions = (scene.caption, scene.with_object(colour=colour).caption, "")
        prompts = [clip.encode_from_tokens_scheduled(clip.tokenize(caption)) for caption in captions]
        samples = vae.encode(torch.from_numpy(scenes.render(scene)[None]).float() / 255)
        round_trip = vae.decode(samples)
    return Task(model, *prompts, samples), lambda latent: compare_images(vae.decode(latent), round_trip).mean_psnr


def relative(ours, expected):
    return float((ours - expected).abs().max() / expected.abs().max())


def error(samples, expected):
    return float((samples - expected).square().mean())


def decibel(samples, expected):
    return 10 * math.log10(float(expected.square().mean()) / max(error(samples, expected), 1e-30))


def stock(model, trajectory, positive, negative, cfg):
    """KSamplerAdvanced on from a plain trajectory."""
    latent = RetraceTrajectoryLatent.execute(trajectory, 0).result[0]
    return nodes.KSamplerAdvanced().sample(
        model, "disable", 0, trajectory.steps, cfg, "euler", "ddim_uniform", positive, negative, latent, 0, 10000, "disable"
    )[0]["samples"]  # fmt: skip


# Exact methods and noise maps


@pytest.mark.parametrize("cfg", [1.0, CFG])
@pytest.mark.parametrize("method", EXACT)
def test_an_exact_method_gives_the_latent_back(models, method, cfg):
    task = random_task(models, images=2)
    trajectory = task.exact(method, cfg)
    for start_step in (0, MIDDLE):
        rebuilt = task.edit(trajectory, cfg=cfg, start_step=start_step)[0]
        assert error(rebuilt, task.samples) <= 1e-8
    assert error(task.edit(trajectory, task.target, cfg=cfg)[0], task.samples) > 1e-4


@pytest.mark.parametrize("method", EXACT)
def test_an_exact_method_is_exact_on_a_trained_model(trained, method):
    task, psnr = trained
    rebuilt = task.edit(task.exact(method, CFG))[0]
    assert error(rebuilt, task.samples) <= 1e-8
    assert psnr(rebuilt) >= 60


@pytest.mark.parametrize("cfg", [1.0, CFG])
@pytest.mark.parametrize("solver", SOLVERS)
def test_noise_maps_give_the_latent_back(models, solver, cfg):
    task = random_task(models, images=2)
    trajectory = task.edit_friendly(solver, cfg)
    for start_step in (0, MIDDLE):
        rebuilt = task.edit(trajectory, cfg=cfg, start_step=start_step)[0]
        assert decibel(rebuilt, task.samples) >= 60
    assert decibel(task.edit(trajectory, task.target, cfg=cfg)[0], task.samples) < 60


@pytest.mark.parametrize("solver", SOLVERS)
def test_noise_maps_are_exact_on_a_trained_model(trained, solver):
    task, psnr = trained
    rebuilt = task.edit(task.edit_friendly(solver, CFG))[0]
    assert psnr(rebuilt) >= 60


@pytest.mark.parametrize("layout", ["sd2_v", "sdxl"])
def test_exact_on_other_layouts(models, layout):
    task = random_task(models, layout)
    assert error(task.edit(task.exact("o-belm", CFG))[0], task.samples) <= 1e-8
    assert decibel(task.edit(task.edit_friendly("dpm++ 2m", CFG))[0], task.samples) >= 60


def test_the_source_row_of_an_exact_edit_rebuilds_itself(task):
    for trajectory in (task.exact("o-belm", CFG), task.edit_friendly("ddpm", CFG)):
        edited, source = task.edit(trajectory, task.target, source=task.source)
        assert decibel(source, task.samples) >= 60
        assert edited.shape == task.samples.shape and error(edited, task.samples) > 1e-4
        torch.testing.assert_close(edited, task.edit(trajectory, task.target)[0], rtol=1e-3, atol=1e-3)


def test_a_latent_alone_is_not_enough_for_pairs_and_noise_maps(task):
    for trajectory, kind in (
        (task.exact("edict"), "edict and continues from its pair"),
        (task.edit_friendly("ddpm"), "edit-friendly and continues from its noise maps"),
    ):
        with pytest.raises(ValueError, match=f"Trajectory Latent: .* by {kind}, .* continue it with Edit Sample"):
            RetraceTrajectoryLatent.execute(trajectory, 0)
        with pytest.raises(ValueError, match="Edit Sample: pull_back is 0.5, but a trajectory by .* set it to 0"):
            task.edit(trajectory, pull_back=0.5)


# Plain trajectories: direct inversion, rows


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("start_step", [0, MIDDLE])
def test_p8_the_source_row_is_the_trajectory_at_every_step(models, layout, start_step):
    task = random_task(models, layout)
    trajectory = task.plain()
    rows = []
    model = task.hooked(lambda step, x, sigma: rows.append(x) or x)
    edited, source = task.edit(trajectory, task.target, source=task.source, model=model, start_step=start_step)
    path = task.model.model.process_latent_in(trajectory.latents)
    assert len(rows) == STEPS - start_step
    for level, x in zip(reversed(range(len(rows))), rows, strict=True):
        assert torch.equal(x[:1], path[level])
    torch.testing.assert_close(source, task.samples, rtol=1e-6, atol=1e-6)
    alone = task.edit(trajectory, task.target, start_step=start_step)[0]
    assert relative(edited, alone) < 1e-4
    assert error(edited, task.samples) > 1e-4


def test_p8_the_offset_form_is_the_same(task):
    """Ju et al. add the difference to the trajectory after each step; putting the source row on it is the same."""
    trajectory = task.plain()
    path = task.model.model.process_latent_in(trajectory.latents)
    offsets = []

    def record(step, x, sigma):
        offsets.append(path[STEPS - 1 - step] - x[:1])
        return x + offsets[-1]

    task.edit(trajectory, model=task.hooked(record))
    assert all(float(offset.abs().max()) > 1e-4 for offset in offsets)
    add = task.hooked(lambda step, x, sigma: torch.cat([x[:1] + offsets[step], x[1:]]))
    ours = task.edit(trajectory, task.target, source=task.source)
    theirs = task.edit(trajectory, task.target, source=task.source, hold_source=False, model=add)
    for mine, other in zip(ours, theirs, strict=True):
        assert relative(mine, other) < 1e-4


def test_the_source_row_runs_freely_where_it_is_not_held(task):
    trajectory = task.plain()
    free = task.edit(trajectory, task.target, source=task.source, hold_source=False)
    assert error(free[1], task.samples) > 1e-4
    assert relative(free[1], task.edit(trajectory)[0]) < 1e-4
    # One row alone is the edit, and is never held.
    assert torch.equal(task.edit(trajectory)[0], task.edit(trajectory, hold_source=False)[0])


def test_several_rows_on_one_image(task):
    trajectory = task.plain()
    rows = stack_rows([task.source, task.target, task.negative], ["source", "target", "other"])
    edited, source = task.edit(trajectory, rows)
    assert edited.shape == (2, 4, 8, 8)
    torch.testing.assert_close(source, task.samples, rtol=1e-6, atol=1e-6)
    for row, prompt in zip(edited, (task.target, task.negative), strict=True):
        assert relative(row[None], task.edit(trajectory, prompt)[0]) < 1e-4


def test_prompts_of_different_length_are_rows_too(task):
    long = [[torch.cat([task.target[0][0], task.negative[0][0]], dim=1), {}]]
    trajectory = task.plain()
    edited, source = task.edit(trajectory, long, source=task.source)
    torch.testing.assert_close(source, task.samples, rtol=1e-6, atol=1e-6)
    assert relative(edited, task.edit(trajectory, long)[0]) < 1e-4


def test_a_batch_of_images_under_one_prompt_or_one_each(models):
    task = random_task(models, images=2)
    trajectory = task.plain()
    edited, source = task.edit(trajectory, task.target)
    assert torch.equal(source, trajectory.latents[0])
    each = task.edit(trajectory, stack_rows([task.target, task.negative], ["first", "second"]))[0]
    for index, prompt in enumerate((task.target, task.negative)):
        alone = task.edit(task.plain(task.samples[index : index + 1]), prompt)[0]
        # The random network at this cfg makes much of the last digits, in which a batch differs.
        assert relative(each[index : index + 1], alone) < 1e-2
    assert relative(edited[:1], each[:1]) < 1e-4


def test_the_pooled_embeddings_of_sdxl_are_stacked(models):
    """Each row must see its own: the edit beside its source is the edit alone, and another pooled embedding changes it."""
    task = random_task(models, "sdxl")
    trajectory = task.plain()
    rows = stack_rows([task.source, task.target], ["source", "target"])
    expected = torch.cat([task.source[0][1]["pooled_output"], task.target[0][1]["pooled_output"]])
    assert torch.equal(rows[0][1]["pooled_output"], expected)
    edited = task.edit(trajectory, rows)[0]
    assert relative(edited, task.edit(trajectory, task.target)[0]) < 1e-4
    swapped = [[rows[0][0], {**rows[0][1], "pooled_output": expected.flip(0)}]]
    assert relative(task.edit(trajectory, swapped)[0], edited) > 1e-3


def test_rows_that_do_not_fit_are_refused(models):
    task = random_task(models, images=2)
    trajectory = task.plain()
    three = stack_rows([task.source, task.target, task.negative], ["a", "b", "c"])
    for changes, message in (
        ({"positive": three}, "the prompts have 3 rows, but the trajectory holds 2 images"),
        ({"source": task.source}, "a source runs beside the edit of one image, but the trajectory holds 2 images"),
        ({"start_step": STEPS}, f"start_step {STEPS} is beyond the trajectory's {STEPS} steps"),
    ):
        with pytest.raises(ValueError, match=f"^Edit Sample: .*{message}"):
            task.edit(trajectory, **changes)


def test_a_source_of_several_parts_is_refused(task):
    with pytest.raises(ValueError, match="^Edit Sample: source has 2 parts"):
        task.edit(task.plain(), source=task.source * 2)


def test_a_trajectory_of_another_model_is_refused(models, task):
    with pytest.raises(ValueError, match="Edit Sample: the trajectory's prediction is 'epsilon', but the model's is"):
        task.edit(task.plain(), model=models("sd2_v")[0])


# What changes x after a step


def test_functions_after_a_step_are_called_in_order(task):
    trajectory = task.plain()
    heard = []

    def first(step, x, sigma):
        heard.append(("first", step, float(sigma)))
        return x + 1

    def second(step, x, sigma):
        heard.append(("second", step, float(sigma)))
        return x - 1

    rebuilt = task.edit(trajectory, model=task.hooked(first, second), start_step=MIDDLE)[0]
    levels = trajectory.remaining_sigmas(MIDDLE)[1:].tolist()
    assert heard == [(name, step, sigma) for step, sigma in enumerate(levels) for name in ("first", "second")]
    assert relative(rebuilt, task.edit(trajectory, start_step=MIDDLE)[0]) < 1e-3


def test_only_plain_trajectories_have_functions_after_a_step(task):
    """The others are exact on their own path alone, and say so to the patches by not announcing themselves."""
    calls, announced = [], []
    model = task.hooked(lambda step, x, sigma: calls.append(step) or x)

    def listen(arguments):
        announced.append(ANNOUNCEMENT in arguments["model_options"]["transformer_options"])
        return arguments["conds_out"]

    model.set_model_sampler_pre_cfg_function(listen)
    for trajectory, is_plain in (
        (task.exact("o-belm"), False),
        (task.edit_friendly("ddpm"), False),
        (task.plain(), True),
    ):
        calls.clear()
        announced.clear()
        task.edit(trajectory, model=model)
        assert bool(calls) == is_plain and set(announced) == {is_plain}
    assert ANNOUNCEMENT not in task.model.model_options["transformer_options"]


@pytest.mark.parametrize("dilation", [0, 2])
def test_a_full_pull_back_is_the_trajectory_at_the_levels_below(task, dilation):
    trajectory = task.plain()
    path = task.model.model.process_latent_in(trajectory.latents)
    below = 400
    states = []
    model = task.hooked(lambda step, x, sigma: states.append((x, sigma)) or x)
    full = {"pull_back": 1.0, "pull_back_quantile": 1.0, "pull_back_below": below, "pull_back_dilation": dilation}
    edited = task.edit(trajectory, task.target, model=model, **full)[0]
    limit = trajectory.model.sigma_table[below]
    pulled = [bool(sigma <= limit) for _, sigma in states]
    assert set(pulled) == {True, False}
    for level, (x, _), is_pulled in zip(reversed(range(STEPS)), states, pulled, strict=True):
        assert torch.allclose(x, path[level], rtol=1e-5, atol=1e-5) == is_pulled
    torch.testing.assert_close(edited, task.samples, rtol=1e-4, atol=1e-4)


def test_the_pull_back_leaves_what_guidance_changes(task):
    trajectory = task.plain()
    free, weak, strong, nothing = (
        task.edit(trajectory, task.target, pull_back=1.0, pull_back_quantile=quantile, pull_back_dilation=dilation)[0]
        for quantile, dilation in ((0.0, 8), (0.3, 0), (0.9, 0), (1.0, 0))
    )
    errors = [error(result, task.samples) for result in (nothing, strong, weak, free)]
    assert errors == sorted(errors) and errors[0] < 1e-8 < errors[1]
    # At cfg 1 there is no guidance that could tell what is edited.
    changes = {"cfg": 1.0, "pull_back_quantile": 1.0}
    kept = task.edit(trajectory, task.target, pull_back=1.0, **changes)[0]
    assert torch.equal(kept, task.edit(trajectory, task.target, **changes)[0])


# Guidance


def run(model, positive, negative, cfg, samples, sigmas=(3.0, 0.0)):
    euler, zero = comfy.samplers.sampler_object("euler"), torch.zeros_like(samples)
    return comfy.sample.sample_custom(
        model, zero, cfg, euler, torch.tensor(sigmas), positive, negative, samples, disable_pbar=True
    )


@pytest.mark.parametrize("shrinkage", ["soft", "hard"])
def test_proximal_guidance_at_its_ends(task, shrinkage):
    patch = RetraceProximalGuidance.execute
    asked = (task.target, task.negative, CFG, 4 * task.samples)
    full = run(patch(task.model, shrinkage, 1.0).result[0], *asked)
    # All of the direction is dropped: what is left is the negative alone.
    torch.testing.assert_close(full, run(task.model, task.negative, task.negative, 1.0, asked[3]), rtol=1e-5, atol=1e-5)
    plain = run(task.model, *asked)
    none = run(patch(task.model, "hard", 0.0).result[0], *asked)
    # Only the smallest entry itself does not lie above the quantile 0.
    assert int(((none - plain).abs() > 1e-5).sum()) <= 1
    half = run(patch(task.model, shrinkage, 0.5).result[0], *asked)
    assert relative(half, plain) > 1e-3 and relative(half, full) > 1e-3


def test_proximal_guidance_leaves_cfg_1_alone(task):
    patched = RetraceProximalGuidance.execute(task.model, "soft", 0.7).result[0]
    asked = (task.target, task.negative, 1.0, 4 * task.samples)
    assert torch.equal(run(patched, *asked), run(task.model, *asked))
    assert "sampler_pre_cfg_function" not in task.model.model_options


def test_proximal_guidance_goes_with_other_functions_before_guidance(task):
    heard = []

    def listen(arguments):
        heard.append([prediction.clone() for prediction in arguments["conds_out"]])
        text, null = arguments["conds_out"]
        return [text + 0.5, null]

    model = task.model.clone()
    model.set_model_sampler_pre_cfg_function(listen)
    model = RetraceProximalGuidance.execute(model, "hard", 0.7).result[0]
    model.set_model_sampler_pre_cfg_function(listen)
    run(model, task.target, task.negative, CFG, 4 * task.samples)
    (text, null), (shrunk, same) = heard
    assert torch.equal(null, same)
    torch.testing.assert_close(shrunk, null + shrink(text + 0.5 - null, 0.7, "hard"))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_p7_negative_prompt_inversion_is_cfg_1_in_a_stock_sampler(models, layout):
    task = random_task(models, layout)
    trajectory = task.plain()
    negative = RetraceNegativePrompt.execute(task.source, task.negative, 0.0).result[0]
    unguided = stock(task.model, trajectory, task.source, task.negative, 1.0)
    assert relative(stock(task.model, trajectory, task.source, negative, CFG), unguided) < 1e-4
    assert relative(task.edit(trajectory, negative=negative)[0], unguided) < 1e-4
    assert relative(stock(task.model, trajectory, task.source, task.negative, CFG), unguided) > 1e-2


def test_the_interpolated_negative(models):
    task = random_task(models, "sdxl")
    execute = RetraceNegativePrompt.execute
    for amount, end in ((0.0, task.source), (1.0, task.negative)):
        (embedding, settings), (expected, others) = execute(task.source, task.negative, amount).result[0][0], end[0]
        torch.testing.assert_close(embedding, expected)
        torch.testing.assert_close(settings["pooled_output"], others["pooled_output"])
    between = execute(task.source, task.negative, 0.5).result[0][0]
    for mixed, first, second in (
        (between[0], task.source[0][0], task.negative[0][0]),
        (between[1]["pooled_output"], task.source[0][1]["pooled_output"], task.negative[0][1]["pooled_output"]),
    ):
        half_angle = torch.cosine_similarity(first.flatten(), second.flatten(), dim=0).acos() / 2
        torch.testing.assert_close(mixed, (first + second) / (2 * half_angle.cos()))
    with pytest.raises(ValueError, match="^Negative Prompt: empty has 2 parts"):
        execute(task.source, task.negative * 2, 0.5)


def test_without_a_negative(task, caplog):
    """Null embeddings stand in for it, at cfg 1 none is needed, and else Edit Sample refuses."""
    trajectory = task.plain()
    with pytest.raises(ValueError, match=r"^Edit Sample: cfg is 7.5, but there is no negative .* or set cfg to 1"):
        task.edit(trajectory, negative=None)
    unguided = task.edit(trajectory, negative=None, cfg=1.0)[0]
    assert torch.equal(unguided, task.edit(trajectory, cfg=1.0)[0])
    embeddings = task.negative[0][0].repeat(STEPS, 1, 1)
    with_null = replace(trajectory, null_text=NullEmbeddings(embeddings, None, None, CFG))
    with caplog.at_level(logging.WARNING):
        assert relative(task.edit(with_null, negative=None)[0], task.edit(trajectory)[0]) < 1e-5
        assert "null embeddings were made" not in caplog.text
        task.edit(with_null, negative=None, cfg=5.0)
    assert "Edit Sample: the null embeddings were made for cfg 7.5, this edit has cfg 5" in caplog.text
