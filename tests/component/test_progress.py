"""What a long run says while it lasts: its steps and the time left on the node, and a bar in the console."""

import comfy.utils
import pytest
import torch
from node_call import run_node
from random_models import random_conditioning
from retrace_pack.host import report
from retrace_pack.host.report import step_teller, time_left
from retrace_pack.nodes.exact_inversion import RetraceExactInvert


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
