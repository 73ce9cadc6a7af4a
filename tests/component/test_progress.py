"""What a long run says while it lasts: its steps and the time left on the node, and a bar in the console."""

from types import SimpleNamespace

import comfy.utils
import pytest
import torch
from comfy_execution import progress
from comfy_execution.graph import DynamicPrompt
from comfy_execution.graph_utils import GraphBuilder
from node_call import run_node
from random_models import random_conditioning
from retrace_pack.host import report
from retrace_pack.host.expansion import Expansion
from retrace_pack.host.report import step_teller, tell, time_left
from retrace_pack.nodes.editing import RetraceEditSample
from retrace_pack.nodes.exact_inversion import RetraceEditFriendlyInvert, RetraceExactInvert
from retrace_pack.nodes.inversion import RetraceDDIMInvert


@pytest.mark.parametrize(
    ("elapsed", "done", "remaining", "words"),
    [
        (1.9, 4, 6, ""),
        (8.0, 0, 10, ""),
        (8.0, 4, 6, "about 12 s left"),
        (50.0, 10, 40, "about 3 min left"),
        (8.0, 4, 0, "about 0 s left"),
    ],
)
def test_the_time_left_follows_the_speed_so_far(elapsed, done, remaining, words):
    assert time_left(elapsed, done, remaining) == words


def test_the_clock_starts_at_the_first_step(monkeypatch):
    """What came before it is the model's loading."""
    told, clock = [], iter([100.0, 105.0, 110.0])
    monkeypatch.setattr(report, "tell", lambda node, text: told.append(text))
    monkeypatch.setattr(report.time, "monotonic", lambda: next(clock))
    tell_step = step_teller(RetraceExactInvert, 5)
    tell_step(1)
    tell_step(2, "loss 0.1")
    tell_step(3)
    assert told == ["step 1 of 5", "step 2 of 5, loss 0.1, about 15 s left", "step 3 of 5, about 10 s left"]


@pytest.mark.parametrize("shown", [True, False])
def test_an_inversion_tells_every_step_and_draws_cores_bar(models, monkeypatch, capsys, shown):
    model, _ = models("sd15")
    told = []
    monkeypatch.setattr(report, "tell", lambda node, text: told.append(text))
    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_ENABLED", shown)
    prompt = random_conditioning(model, 1)
    run_node(
        RetraceExactInvert,
        model=model,
        positive=prompt,
        negative=prompt,
        latent={"samples": torch.zeros(1, 4, 8, 8)},
        steps=4,
    )
    assert [text.split(",")[0] for text in told[:-1]] == [f"step {step} of 4" for step in range(1, 5)]
    assert ("4/4" in capsys.readouterr().err) is shown


@pytest.mark.parametrize("invert", [RetraceDDIMInvert, RetraceExactInvert, RetraceEditFriendlyInvert])
def test_an_edit_tells_every_step_that_it_runs(models, monkeypatch, invert):
    model, _ = models("sd15")
    prompt = random_conditioning(model, 1)
    latent = {"samples": torch.zeros(1, 4, 8, 8)}
    trajectory = run_node(invert, model=model, positive=prompt, negative=prompt, latent=latent, steps=4).result[0]
    told = []
    monkeypatch.setattr(report, "tell", lambda node, text: told.append(text))
    run_node(RetraceEditSample, model=model, trajectory=trajectory, positive=prompt, cfg=1.0, start_step=1)
    assert [text.split(",")[0] for text in told[:-1]] == [f"step {step} of 3" for step in range(1, 4)]


def with_id(node_id, **hidden):
    """A node as it runs under this id."""
    return SimpleNamespace(hidden=SimpleNamespace(unique_id=node_id, **hidden))


def test_inside_a_node_that_stands_for_a_graph_steps_are_shown_on_that_node_with_their_phase_below_its_note(
    monkeypatch,
):
    """The frontend knows no other one. A node of another pack's graph is shown as that pack wants, without a note."""
    server, sent = pytest.importorskip("server"), []
    monkeypatch.setattr(
        server.PromptServer,
        "instance",
        SimpleNamespace(send_progress_text=lambda *each: sent.append(each)),
        raising=False,
    )
    prompt = DynamicPrompt({"easy": {"inputs": {}}, "invert": {"inputs": {}}, "loop": {"inputs": {}}})
    monkeypatch.setattr(progress, "global_progress_registry", progress.ProgressRegistry("this run", prompt))
    GraphBuilder.set_default_prefix("easy", 0)
    graph = Expansion(with_id("easy", dynprompt=prompt))
    invert = graph.node("invert", "RetraceExactInvert", "inverting the photo", steps=4)
    composite = graph.node("composite", "RetracePixelComposite")
    for node_id, content in graph.finish("color or material").items():
        prompt.add_ephemeral_node(node_id, content, "easy", "easy")
    prompt.add_ephemeral_node("loop.1", {"inputs": {}}, "loop", "invert")
    for node_id in (invert.id, composite.id, "invert", "loop.1"):
        tell(with_id(node_id), "step 1 of 4")
    assert sent == [
        ("color or material\ninverting the photo: step 1 of 4", "easy"),
        ("color or material\nstep 1 of 4", "easy"),
        ("step 1 of 4", "invert"),
        ("step 1 of 4", "invert"),
    ]
