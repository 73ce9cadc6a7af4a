"""The aligned way back in Edit Sample, on flows and on UNets: exact under the prompt of the inversion, an edit under another."""

from dataclasses import replace

import node_helpers
import pytest
import torch
from node_call import run_node
from random_flows import random_flow, random_image, random_prompt
from retrace_pack.inversion.methods import methods_of
from retrace_pack.nodes.editing import RetraceEditSample
from retrace_pack.nodes.exact_inversion import RetraceEditFriendlyInvert, RetraceExactInvert
from retrace_pack.nodes.flow_inversion import RetraceFlowInvert
from retrace_pack.nodes.inversion import RetraceDDIMInvert
from retrace_pack.nodes.negative_prompt import RetraceNegativePrompt
from retrace_pack.nodes.trajectory import RetraceLoadTrajectory, RetraceSaveTrajectory

STEPS = 8
FAMILIES = ("flux", "schnell", "qwen", "sd3")


@pytest.fixture(scope="module")
def flows():
    made = {}

    def get(family):
        if family not in made:
            made[family] = random_flow(family)
        return made[family]

    return get


def prompts(family):
    return {"positive": random_prompt(family, 1, guidance=1.0), "negative": random_prompt(family, 2)}


def inverted(model, family, node=RetraceFlowInvert, **changes):
    given = {**prompts(family), "latent": {"samples": random_image(family)}, "steps": STEPS}
    return run_node(node, model=model, **{**given, **changes}).result[0]


def edited(model, family, trajectory, **changes):
    output = run_node(
        RetraceEditSample, model=model, trajectory=trajectory, **{"cfg": 1.0, **prompts(family), **changes}
    )
    return output.result[0]["samples"], output.ui["text"][0]


def missed(samples, family):
    return float((samples - random_image(family)).abs().max())


@pytest.mark.parametrize("solver", methods_of("flow"))
@pytest.mark.parametrize("family", ["flux", "qwen"])
def test_f3_every_solver_comes_back_at_no_cost(flows, family, solver):
    model = flows(family)
    trajectory = inverted(model, family, solver=solver, seed=3)
    samples, text = edited(model, family, trajectory)
    assert missed(samples, family) <= 1e-6 and text.startswith(f"{STEPS} ")
    off = missed(edited(model, family, trajectory, align="off")[0], family)
    assert off > 100 * max(missed(samples, family), 1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_f3_ddim_invert_comes_back_from_every_start_and_after_iterations(flows, family):
    model = flows(family)
    for settings in ({}, {"fixed_point_iterations": 1}, {"fixed_point_iterations": 2, "acceleration": "anderson"}):
        trajectory = inverted(model, family, RetraceDDIMInvert, **settings)
        for start_step in (0, 3):
            assert missed(edited(model, family, trajectory, start_step=start_step)[0], family) <= 1e-6


@pytest.mark.parametrize("iterations", [0, 2])
def test_f3_on_tiny_sd15_where_it_is_off_unless_asked_for(trained, iterations):
    task = replace(trained(), iterations=iterations)
    trajectory = task.invert()
    aligned = task.edit(trajectory, cfg=1.0, align="on")[0]
    plain = task.edit(trajectory, cfg=1.0)[0]
    assert float((aligned - task.samples).abs().max()) <= 1e-6
    assert float((plain - task.samples).abs().max()) > 1e-4
    assert torch.equal(plain, task.edit(trajectory, cfg=1.0, align="off")[0])


@pytest.mark.parametrize("method", ["dpm++ 2m", "res 2m"])
def test_f3_the_second_order_methods_on_tiny_sd15(trained, method):
    task = trained()
    trajectory = run_node(
        RetraceDDIMInvert, model=task.model, positive=task.source, negative=task.negative,
        latent={"samples": task.samples}, steps=task.steps, method=method,
    ).result[0]  # fmt: skip
    assert float((task.edit(trajectory, cfg=1.0, align="on")[0] - task.samples).abs().max()) <= 1e-6


def test_it_is_an_edit_under_another_prompt_and_at_another_cfg(flows):
    model = flows("schnell")
    trajectory = inverted(model, "schnell")
    assert missed(edited(model, "schnell", trajectory, positive=random_prompt("schnell", 5))[0], "schnell") > 1e-2
    assert missed(edited(model, "schnell", trajectory, cfg=4.0)[0], "schnell") > 1e-2


@pytest.mark.parametrize("family", ["schnell", "qwen"])
def test_the_source_prompt_as_the_negative_brings_it_back_at_any_cfg(flows, family):
    """Negative Prompt, also where the empty prompt has another length: to joint attention a repeated prompt is another one."""
    model, source = flows(family), random_prompt(family, 1, tokens=9)

    def negative(amount):
        empty = random_prompt(family, 2, tokens=4)
        return run_node(RetraceNegativePrompt, source=source, empty=empty, interpolation=amount).result[0]

    trajectory = inverted(model, family, positive=source)
    assert (
        missed(edited(model, family, trajectory, positive=source, negative=negative(0.0), cfg=5.0)[0], family) <= 1e-5
    )
    assert negative(1.0)[0][0].shape[1] == 4
    with pytest.raises(
        ValueError, match=r"^Negative Prompt: interpolation is 0.3, but source has 9 tokens and empty 4"
    ):
        negative(0.3)


@pytest.mark.parametrize("family", ["flux", "qwen"])
def test_a_reference_image_takes_part_on_the_way_there_and_back(flows, family):
    """As with Flux Kontext and Qwen-Image-Edit: more image tokens, which are not of the state."""
    model = flows(family)

    def referring(prompt):
        return node_helpers.conditioning_set_values(prompt, {"reference_latents": [random_image(family, seed=8)]})

    source, edit = (referring(random_prompt(family, seed, guidance=1.0)) for seed in (1, 5))
    trajectory = inverted(model, family, positive=source)
    assert missed(edited(model, family, trajectory, positive=source)[0], family) <= 1e-6
    assert missed(edited(model, family, trajectory)[0], family) > 1e-3
    inputs = {**prompts(family), "positive": edit, "source": source, "hold_source": False}
    both = run_node(RetraceEditSample, model=model, trajectory=trajectory, cfg=1.0, **inputs).result
    assert missed(both[1]["samples"], family) <= 1e-6 and missed(both[0]["samples"], family) > 1e-3


def test_a_file_keeps_the_offsets(flows, folders):
    model = flows("qwen")
    run_node(RetraceSaveTrajectory, trajectory=inverted(model, "qwen", fixed_point_iterations=1))
    (name,) = RetraceLoadTrajectory.define_schema().inputs[0].options
    (loaded,) = RetraceLoadTrajectory.execute(name).result
    assert missed(edited(model, "qwen", loaded)[0], "qwen") <= 1e-6 and loaded.asks.corrections is not None


def test_what_cannot_be_aligned_is_refused_or_left_as_it_is(flows):
    model = flows("schnell")
    exact = inverted(model, "schnell", RetraceExactInvert, method="o-belm")
    assert missed(edited(model, "schnell", exact)[0], "schnell") < 1e-4
    with pytest.raises(
        ValueError, match=r"^Edit Sample: align is 'on', but the trajectory \(method 'o-belm'\) cannot be"
    ):
        edited(model, "schnell", exact, align="on")
    old = replace(inverted(model, "schnell"), asks=None)
    assert missed(edited(model, "schnell", old)[0], "schnell") > 1e-3
    with pytest.raises(ValueError, match="it is from an older version"):
        edited(model, "schnell", old, align="on")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("family", ["schnell", "qwen"])
def test_a_network_in_half_precision_comes_back_as_exactly(family, dtype):
    """Also beside an edit, for the source is evaluated in a batch of its own; and noise maps under guidance."""
    model = random_flow(family, dtype=dtype)
    trajectory = inverted(model, family)
    assert missed(edited(model, family, trajectory)[0], family) <= 1e-6
    beside = {"positive": random_prompt(family, 5, tokens=9), "source": prompts(family)["positive"], "cfg": 3.0}
    given = {**prompts(family), **beside, "hold_source": False}
    source = run_node(RetraceEditSample, model=model, trajectory=trajectory, **given).result[1]["samples"]
    assert missed(source, family) <= 1e-6
    maps = inverted(model, family, RetraceEditFriendlyInvert, cfg=3.5)
    assert missed(edited(model, family, maps, cfg=3.5)[0], family) <= 1e-6
