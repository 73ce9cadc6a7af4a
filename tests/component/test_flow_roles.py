"""A source beside an edit on a flow: each prompt is evaluated by itself, with its own length, cfg and embedded guidance."""

import pytest
import torch
from node_call import run_node
from random_flows import random_flow, random_image, random_prompt
from retrace_pack.nodes.editing import RetraceEditSample
from retrace_pack.nodes.exact_inversion import RetraceExactInvert
from retrace_pack.nodes.flow_inversion import RetraceFlowInvert

STEPS = 6


@pytest.fixture(scope="module", params=["flux", "schnell", "qwen", "z_image"])
def family(request):
    return request.param


@pytest.fixture(scope="module")
def model(family):
    return random_flow(family)


@pytest.fixture(scope="module")
def prompts(family):
    """Of different lengths, as those of LLM text encoders are."""
    return {
        "source": random_prompt(family, 1, tokens=7),
        "positive": random_prompt(family, 5, tokens=12, guidance=3.0 if family == "flux" else None),
        "negative": random_prompt(family, 2, tokens=4),
    }


def inverted(model, family, prompts, node=RetraceFlowInvert, **changes):
    given = {"positive": prompts["source"], "negative": prompts["negative"]}
    return run_node(
        node, model=model, latent={"samples": random_image(family)}, steps=STEPS, **given, **changes
    ).result[0]


def edited(model, trajectory, prompts, **changes):
    output = run_node(RetraceEditSample, model=model, trajectory=trajectory, **{"cfg": 3.0, **prompts, **changes})
    return output.result[0]["samples"], output.result[1]["samples"]


@pytest.mark.parametrize("hold_source", [True, False])
def test_each_row_is_what_it_is_alone(model, family, prompts, hold_source):
    trajectory = inverted(model, family, prompts)
    edit, source = edited(model, trajectory, prompts, hold_source=hold_source)
    alone = edited(model, trajectory, {**prompts, "source": None})[0]
    assert edit.shape == random_image(family).shape
    torch.testing.assert_close(edit, alone, rtol=0, atol=1e-5)
    # Aligned at the cfg and guidance of the inversion, the source comes back also where it is not held.
    assert float((source - random_image(family)).abs().max()) <= 1e-6


def test_without_alignment_a_free_source_drifts(model, family, prompts):
    trajectory = inverted(model, family, prompts)
    source = edited(model, trajectory, prompts, hold_source=False, align="off")[1]
    assert float((source - random_image(family)).abs().max()) > 1e-4


def test_an_exact_method_brings_the_source_back_at_its_own_cfg(model, family, prompts):
    if family == "flux":
        prompts = {**prompts, "source": random_prompt(family, 1, guidance=2.0)}
    trajectory = inverted(model, family, prompts, RetraceExactInvert, method="o-belm", cfg=2.0)
    source = edited(model, trajectory, prompts, cfg=5.0)[1]
    assert float((source - random_image(family)).abs().max()) < 1e-4


def test_evaluations_are_those_of_each_role(model, family, prompts):
    """Per step one of the source at cfg 1, two of the edit at another cfg: 9 rows of 3 steps."""
    from retrace_pack.host.edit_guidance import edit_guidance
    from retrace_pack.host.guided import run_loop

    trajectory = inverted(model, family, prompts)
    guidance = edit_guidance(model, trajectory, prompts["positive"], prompts["negative"], prompts["source"], 3.0)
    seen = []

    def count(patcher):
        def rows(executor, x, *args, **kwargs):
            seen.append(x.shape[0])
            return executor(x, *args, **kwargs)

        patcher.add_wrapper_with_key("apply_model", "test", rows)

    samples = random_image(family, 2)
    run_loop(
        guidance, samples, trajectory.sigmas, lambda run: run.denoise(run.latent, torch.tensor(0.5)), patches=[count]
    )
    assert seen[0] == 1 and sum(seen) == 3
