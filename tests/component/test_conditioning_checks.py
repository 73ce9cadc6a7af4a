"""Conditionings that do not fit the model or the run: refused before the network is evaluated."""

import pytest
import torch
from node_call import run_node
from retrace_pack.nodes.ddim_sample import RetraceDDIMSample
from retrace_pack.nodes.depth_to_image import RetraceDepthToImage
from retrace_pack.nodes.exact_inversion import RetraceEditFriendlyInvert, RetraceExactInvert
from retrace_pack.nodes.inversion import RetraceDDIMInvert
from retrace_pack.nodes.null_text import RetraceNullTextOptimize


def entry(cond, **settings):
    ((embedding, own),) = cond
    return [[embedding, {**own, **settings}]]


@pytest.mark.parametrize(("layout", "change", "message"), [
    ("sd15", lambda c: entry(c, start_percent=0.0, end_percent=0.5), "positive is not active at sigma"),
    ("sd15", lambda c: entry(c, start_percent=0.3), "positive is not active at sigma"),
    ("sd15", lambda c: [[c[0][0].repeat(1, 1, 2), c[0][1]]], "positive has embeddings of width"),
    ("sd15", lambda c: [[c[0][0] * float("nan"), c[0][1]]], "positive holds NaN"),
    ("sd15", lambda c: [[None, c[0][1]]], "positive holds None"),
    ("sd15", lambda c: [[c[0][0].repeat(3, 1, 1), c[0][1]]], "positive has 3 rows"),
    ("sdxl", lambda c: [[c[0][0], {}]], "positive has no pooled embedding"),
    ("sdxl", lambda c: entry(c, pooled_output=torch.zeros(1, 7)), "positive has a pooled embedding of width 7"),
    ("sd2_depth", lambda c: c, "positive carries no depth"),
])  # fmt: skip
def test_what_does_not_fit_is_refused_by_every_inversion(models, latent, monkeypatch, layout, change, message):
    model, cond = models(layout)
    monkeypatch.setattr(type(model.model), "apply_model", lambda *_, **__: pytest.fail("the network was evaluated"))
    bad = change(cond)
    runs = {
        "DDIM Invert": lambda: run_node(
            RetraceDDIMInvert, model=model, positive=bad, negative=cond, latent=latent, steps=4
        ),
        "Exact Invert": lambda: run_node(
            RetraceExactInvert, model=model, positive=bad, negative=cond, latent=latent, steps=4
        ),
        "Edit Friendly Invert": lambda: run_node(
            RetraceEditFriendlyInvert, model=model, positive=bad, negative=cond, latent=latent, steps=4, cfg=1.0
        ),
    }
    for node, run in runs.items():
        with pytest.raises(ValueError, match=f"^{node}: {message}"):
            run()


def test_two_parts_that_cover_the_range_together_are_allowed(models, latent):
    model, cond = models("sd15")
    parts = [*entry(cond, start_percent=0.0, end_percent=0.5), *entry(cond, start_percent=0.5, end_percent=1.0)]
    whole, joined = (
        run_node(RetraceDDIMInvert, model=model, positive=given, negative=cond, latent=latent, steps=4)
        .result[0]
        .latents
        for given in (cond, parts)
    )
    assert torch.allclose(whole, joined)


def test_a_prompt_for_every_latent_is_allowed(models, latent):
    """As rows of a batch: each latent has its own."""
    model, cond = models("sd15")
    rows = len(latent["samples"])
    own = [[torch.cat([cond[0][0] * (1 + row) for row in range(rows)]), cond[0][1]]]
    assert rows == 2
    together = (
        run_node(RetraceDDIMInvert, model=model, positive=own, negative=own, latent=latent, steps=4).result[0].latents
    )
    for row in range(rows):
        alone = {"samples": latent["samples"][row : row + 1]}
        prompt = [[own[0][0][row : row + 1], cond[0][1]]]
        states = (
            run_node(RetraceDDIMInvert, model=model, positive=prompt, negative=prompt, latent=alone, steps=4)
            .result[0]
            .latents
        )
        torch.testing.assert_close(together[:, row : row + 1], states, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["positive", "negative"])
def test_null_text_refuses_what_it_cannot_optimize(short_task, name):
    task = short_task()
    trajectory = task.invert()
    for change, message in (
        ({"area": (4, 4, 0, 0)}, "has an area"),
        ({"start_percent": 0.0, "end_percent": 0.4}, "is not active at sigma"),
    ):
        own = {"positive": task.source, "negative": task.negative}
        own[name] = entry(own[name], **change)
        with pytest.raises(ValueError, match=f"^Null Text Optimize: {name} {message}"):
            run_node(
                RetraceNullTextOptimize,
                model=task.model,
                trajectory=trajectory,
                positive=own["positive"],
                negative=own["negative"],
                inner_steps=3,
            )


def test_depth_to_image_refuses_a_video_latent(models, latent):
    model, cond = models("sd2_depth")
    video = {"samples": latent["samples"][:, :, None]}
    with pytest.raises(ValueError, match="^Depth To Image: the latent has 5 dimensions"):
        run_node(
            RetraceDepthToImage, model=model, positive=cond, negative=cond, depth=torch.rand(1, 64, 64, 3), latent=video
        )


def test_the_nodes_name_stands_before_a_refusal_of_sampling(models, latent):
    model, cond = models("sd15")
    gap = entry(cond, start_percent=0.5)
    with pytest.raises(ValueError, match="^DDIM Sample: positive is not active at sigma"):
        run_node(RetraceDDIMSample, model=model, positive=gap, negative=cond, latent=latent, steps=4, cfg=1.0)
