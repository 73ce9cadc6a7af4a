"""Conditionings that do not fit the model or the run: refused before the network is evaluated."""

import pytest
import torch
from retrace_pack.nodes.exact_inversion import RetraceEditFriendlyInvert, RetraceExactInvert
from retrace_pack.nodes.inversion import RetraceDDIMInvert


def entry(cond, **settings):
    ((embedding, own),) = cond
    return [[embedding, {**own, **settings}]]


@pytest.mark.parametrize(("layout", "change", "message"), [
    ("sd15", lambda c: entry(c, start_percent=0.0, end_percent=0.5), "positive is not active at sigma"),
    ("sd15", lambda c: entry(c, start_percent=0.3), "positive is not active at sigma"),
    ("sd15", lambda c: [[c[0][0].repeat(1, 1, 2), c[0][1]]], "positive has embeddings of width"),
    ("sd15", lambda c: [[c[0][0] * float("nan"), c[0][1]]], "positive holds NaN"),
    ("sd15", lambda c: [[None, c[0][1]]], "positive holds None"),
    ("sdxl", lambda c: [[c[0][0], {}]], "positive has no pooled embedding"),
    ("sd2_depth", lambda c: c, "positive carries no depth"),
])  # fmt: skip
def test_what_does_not_fit_is_refused_by_every_inversion(models, latent, monkeypatch, layout, change, message):
    model, cond = models(layout)
    monkeypatch.setattr(type(model.model), "apply_model", lambda *_, **__: pytest.fail("the network was evaluated"))
    bad = change(cond)
    runs = {
        "DDIM Invert": lambda: RetraceDDIMInvert.execute(model, bad, cond, latent, 4, 1.0, 0, "leading", "clean"),
        "Exact Invert": lambda: RetraceExactInvert.execute(
            model, bad, cond, latent, "edict", 4, 1.0, 0.93, 1.0, "leading", "clean"
        ),
        "Edit Friendly Invert": lambda: RetraceEditFriendlyInvert.execute(
            model, bad, cond, latent, 0, 4, 1.0, "ddpm", 1.0, "leading", "clean"
        ),
    }
    for node, run in runs.items():
        with pytest.raises(ValueError, match=f"^{node}: {message}"):
            run()


def test_two_parts_that_cover_the_range_together_are_allowed(models, latent):
    model, cond = models("sd15")
    parts = [*entry(cond, start_percent=0.0, end_percent=0.5), *entry(cond, start_percent=0.5, end_percent=1.0)]
    whole, joined = (
        RetraceDDIMInvert.execute(model, given, cond, latent, 4, 1.0, 0, "leading", "clean").result[0].latents
        for given in (cond, parts)
    )
    assert torch.allclose(whole, joined)
