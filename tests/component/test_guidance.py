"""The guidance that reconstructs without optimization: proximal, negative-prompt inversion, and none."""

import logging
from dataclasses import replace

import comfy.sample
import comfy.samplers
import pytest
import torch
from node_call import run_node
from retrace_pack.inversion.trajectory import NullEmbeddings
from retrace_pack.nodes.negative_prompt import RetraceNegativePrompt
from retrace_pack.nodes.proximal_guidance import RetraceProximalGuidance
from retrace_pack.samplers.proximal import shrink

LAYOUTS = ["sd15", "sd2_v", "sdxl"]


def run(model, positive, negative, cfg, samples, sigmas=(3.0, 0.0)):
    euler, zero = comfy.samplers.sampler_object("euler"), torch.zeros_like(samples)
    return comfy.sample.sample_custom(
        model, zero, cfg, euler, torch.tensor(sigmas), positive, negative, samples, disable_pbar=True
    )


@pytest.mark.parametrize("shrinkage", ["soft", "hard"])
def test_proximal_guidance_at_its_ends(task, relative, shrinkage):

    def patched(shrinkage, quantile):
        return run_node(RetraceProximalGuidance, model=task.model, shrinkage=shrinkage, quantile=quantile).result[0]

    asked = (task.target, task.negative, task.cfg, 4 * task.samples)
    full = run(patched(shrinkage, 1.0), *asked)
    # All of the direction is dropped: what is left is the negative alone, which a batch of two rounds otherwise than one row.
    torch.testing.assert_close(full, run(task.model, task.negative, task.negative, 1.0, asked[3]), rtol=1e-5, atol=3e-5)
    plain = run(task.model, *asked)
    none = run(patched("hard", 0.0), *asked)
    # Only the smallest entry itself does not lie above the quantile 0.
    assert int(((none - plain).abs() > 1e-5).sum()) <= 1
    half = run(patched(shrinkage, 0.5), *asked)
    assert relative(half, plain) > 1e-3 and relative(half, full) > 1e-3


def test_proximal_guidance_leaves_cfg_1_alone(task):
    patched = run_node(RetraceProximalGuidance, model=task.model).result[0]
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
    model = run_node(RetraceProximalGuidance, model=model, shrinkage="hard").result[0]
    model.set_model_sampler_pre_cfg_function(listen)
    run(model, task.target, task.negative, task.cfg, 4 * task.samples)
    (text, null), (shrunk, same) = heard
    assert torch.equal(null, same)
    torch.testing.assert_close(shrunk, null + shrink(text + 0.5 - null, 0.7, "hard"))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_p7_negative_prompt_inversion_is_cfg_1_in_a_stock_sampler(random_task, relative, layout):
    task = random_task(layout)
    trajectory = task.invert()
    negative = run_node(RetraceNegativePrompt, source=task.source, empty=task.negative).result[0]
    unguided = task.k_sampler(trajectory, cfg=1.0)
    assert relative(task.k_sampler(trajectory, negative), unguided) < 1e-4
    assert relative(task.edit(trajectory, negative=negative)[0], unguided) < 1e-4
    assert relative(task.k_sampler(trajectory), unguided) > 1e-2


def test_the_interpolated_negative(random_task):
    task = random_task("sdxl")

    def interpolated(source, empty, amount=0.5):
        return run_node(RetraceNegativePrompt, source=source, empty=empty, interpolation=amount).result[0]

    for amount, end in ((0.0, task.source), (1.0, task.negative)):
        (embedding, settings), (expected, others) = interpolated(task.source, task.negative, amount)[0], end[0]
        torch.testing.assert_close(embedding, expected)
        torch.testing.assert_close(settings["pooled_output"], others["pooled_output"])
    between = interpolated(task.source, task.negative)[0]
    for mixed, first, second in (
        (between[0], task.source[0][0], task.negative[0][0]),
        (between[1]["pooled_output"], task.source[0][1]["pooled_output"], task.negative[0][1]["pooled_output"]),
    ):
        half_angle = torch.cosine_similarity(first.flatten(), second.flatten(), dim=0).acos() / 2
        torch.testing.assert_close(mixed, (first + second) / (2 * half_angle.cos()))
    with pytest.raises(ValueError, match="^Negative Prompt: empty has 2 parts"):
        interpolated(task.source, task.negative * 2)
    ((embedding, settings),) = task.source
    rows = [[embedding.repeat(2, 1, 1), settings]]
    for inputs, name in (((rows, task.negative), "source"), ((task.source, rows), "empty")):
        with pytest.raises(ValueError, match=f"^Negative Prompt: {name} has 2 rows .* give the one prompt"):
            interpolated(*inputs)


def test_without_a_negative(task, relative, caplog):
    """Null embeddings stand in for it, at cfg 1 none is needed, and else Edit Sample refuses."""
    trajectory = task.invert()
    with pytest.raises(ValueError, match=r"^Edit Sample: cfg is 7.5, but there is no negative .* or set cfg to 1"):
        task.edit(trajectory, negative=None)
    unguided = task.edit(trajectory, negative=None, cfg=1.0)[0]
    assert torch.equal(unguided, task.edit(trajectory, cfg=1.0)[0])
    embeddings = task.negative[0][0].repeat(task.steps, 1, 1)
    with_null = replace(trajectory, null_text=NullEmbeddings(embeddings, None, None, task.cfg))
    with caplog.at_level(logging.WARNING):
        assert relative(task.edit(with_null, negative=None)[0], task.edit(trajectory)[0]) < 1e-5
        assert "null embeddings were made" not in caplog.text
        task.edit(with_null, negative=None, cfg=5.0)
    assert "Edit Sample: the null embeddings were made for cfg 7.5, this edit has cfg 5" in caplog.text
