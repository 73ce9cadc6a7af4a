"""A ControlNet on Flux: it leads the way there and back alike, so that the image comes back exactly; without it, it does not."""

import pytest
import torch
from node_call import run_node
from random_flows import random_flow, random_flux_control, random_image, random_prompt
from retrace_pack.nodes.editing import RetraceEditSample
from retrace_pack.nodes.exact_inversion import RetraceExactInvert
from retrace_pack.nodes.flow_inversion import RetraceFlowInvert
from retrace_pack.nodes.null_text import RetraceNullTextOptimize

import nodes

STEPS = 6
HINT = torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(1))
PLAIN = random_prompt("schnell", 1), random_prompt("schnell", 2)


@pytest.fixture(scope="module")
def model():
    return random_flow("schnell")


@pytest.fixture(scope="module")
def led():
    """(a pair of prompts, until) -> with the ControlNet, up to that part of the run."""
    control = random_flux_control()
    apply = nodes.ControlNetApplyAdvanced().apply_controlnet
    return lambda prompts=PLAIN, until=1.0: apply(*prompts, control, HINT, 1.0, 0.0, until)


def inverted(model, prompts, node=RetraceFlowInvert, **changes):
    image = {"samples": random_image("schnell")}
    given = {"positive": prompts[0], "negative": prompts[1], **changes}
    return run_node(node, model=model, latent=image, steps=STEPS, **given).result[0]


def missed(model, trajectory, prompts, row=0, **changes):
    given = {"positive": prompts[0], "negative": prompts[1], "cfg": 1.0, **changes}
    samples = run_node(RetraceEditSample, model=model, trajectory=trajectory, **given).result[row]["samples"]
    return float((samples - random_image("schnell")).abs().max())


@pytest.mark.parametrize("until", [1.0, 0.5])
def test_f3_the_image_comes_back_under_the_same_control(model, led, until):
    prompts = led(until=until)
    trajectory = inverted(model, prompts)
    assert missed(model, trajectory, prompts) <= 1e-6 and missed(model, trajectory, PLAIN) > 1e-2


def test_a_source_and_an_edit_of_another_length_are_both_led(model, led):
    trajectory, source = inverted(model, led()), led()[0]
    edit = led((random_prompt("schnell", 5, tokens=11), PLAIN[1]))
    given = {"source": source, "cfg": 3.0}
    assert missed(model, trajectory, edit, row=1, **given) <= 1e-6
    both = [missed(model, trajectory, prompts, **given) for prompts in (edit, (edit[0][:1], PLAIN[1]))]
    assert both[0] > 1e-2 and abs(both[0] - both[1]) > 1e-3


def test_f7_an_exact_method_and_a_null_text_residual_come_back_under_control(model, led):
    prompts = led()
    exact = inverted(model, prompts, RetraceExactInvert, cfg=3.0)
    assert missed(model, exact, prompts, cfg=3.0) < 1e-4
    given = {"model": model, "positive": prompts[0], "negative": prompts[1], "cfg": 3.0}
    found = run_node(
        RetraceNullTextOptimize, trajectory=inverted(model, prompts), inner_steps=1, residual=True, **given
    )
    trajectory, negative = found.result[:2]
    assert missed(model, trajectory, (prompts[0], negative), cfg=3.0) <= 1e-5
