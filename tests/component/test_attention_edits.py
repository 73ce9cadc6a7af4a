"""What attention edits do to a source and its target, through ComfyUI's sampling on miniature layouts with random weights:
Prompt to Prompt, MasaCtrl, Plug and Play and the local blend.
"""

from itertools import combinations

import pytest
import torch
from node_call import run_node
from random_edits import BLEND, STEPS, TOKENS, cross_edit, edit, p2p, rows, sample, strangers, twins
from retrace_pack.attention.local_blend import LocalBlend
from retrace_pack.attention.prompt_edit import PromptEdit
from retrace_pack.host.after_step import apply_changes, model_changes
from retrace_pack.host.plain_attention import plain_attention
from retrace_pack.nodes.masactrl import RetraceMasaCtrl
from retrace_pack.nodes.plug_and_play import RetracePlugAndPlay

LAYOUTS = ["sd15", "sd2_v", "sdxl"]


@pytest.mark.parametrize(
    ("layout", "size"), [("sd15", (16, 16)), ("sd15", (18, 10)), ("sd2_v", (24, 16)), ("sdxl", (16, 24))]
)
def test_edits_that_do_nothing_change_no_bit(models, layout, size):
    model = models(layout)[0]
    positive, state = rows(model, 1, 2), twins(*size)
    expected = sample(model, positive, state)
    for patched in (
        p2p(model, edit(cross=0, own=0)),
        p2p(model, edit(cross=0, own=0.1, blend=None)),
        run_node(RetraceMasaCtrl, model=model, start_step=STEPS, start_layer=0.0).result[0],
        run_node(RetracePlugAndPlay, model=model, attention_fraction=0.1, feature_fraction=0.1).result[0],
    ):
        assert torch.equal(sample(patched, positive, state), expected)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_same_prompt_and_state_in_both_rows_stay_as_they_are(models, relative, layout):
    """Except for the rounding by which the network itself distinguishes equal rows of a batch."""
    model = models(layout)[0]
    positive, state = rows(model, 1, 1), twins()
    expected = sample(model, positive, state)
    for patched in (
        p2p(model, edit()),
        run_node(RetraceMasaCtrl, model=model, start_step=0, start_layer=0.0).result[0],
        run_node(RetracePlugAndPlay, model=model, attention_fraction=1.0, feature_fraction=1.0).result[0],
    ):
        assert relative(sample(patched, positive, state), expected) < 1e-3


def test_an_identity_edit_of_equal_rows_changes_no_bit(models):
    """Of rows that are equal to the last bit: every layer's attention under the patch is the plain one."""
    model = models("sd15")[0]
    patched = p2p(model, edit())
    (after_begin,) = patched.get_all_wrappers("outer_sample")
    options = {
        "cond_or_uncond": [1, 0], "sigmas": torch.ones(1), "sample_sigmas": torch.tensor([2.0, 1.0, 0.0]), "n_heads": 8,
        "dim_head": 4, "attn_precision": None, "activations_shape": [4, 32, 8, 8], "block_index": 0,
        "uuids": ["negative", "positive"], "original_shape": [4, 4, 8, 8],
    }  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    q, k, v = (
        torch.randn(2, 1, tokens, 32, generator=generator).repeat(1, 2, 1, 1).flatten(0, 1)
        for tokens in (64, TOKENS, TOKENS)
    )
    seen = []

    class Guider:
        model_options = patched.model_options
        model_patcher = patched
        conds = {"positive": [{"uuid": "positive", "cross_attn": k[2:]}], "negative": [{"uuid": "negative"}]}

    def run(executor, *args):
        replaced = Guider.model_options["transformer_options"]["patches_replace"]
        (sampler_begins,) = Guider.model_options["transformer_options"]["wrappers"]["sampler_sample"][
            "retrace_attention"
        ]
        sampler_begins(lambda: None)
        for patch in replaced["attn2"].values():
            seen.append(torch.equal(patch(q, k, v, options), plain_attention(q, k, v, options)))
        for patch in replaced["attn1"].values():
            seen.append(torch.equal(patch(q, q, q, options), plain_attention(q, q, q, options)))
        return args[0]

    class Executor:
        class_obj = Guider
        __call__ = run

    after_begin(Executor(), torch.zeros(2, 4, 8, 8), None, None, options["sample_sigmas"])
    assert seen == [True] * 14


def every_edit(model, targets=1):
    def changes(seed=None, cross=0.0, own=0.0, blend=None):
        return p2p(model, PromptEdit((TOKENS,) * (1 + targets), (cross_edit(cross, seed),) * targets, own, blend))

    blend = LocalBlend(((3,), *((3, 4),) * targets), ((),) * (1 + targets), threshold=0.95, start=0.0)
    mask = torch.zeros(1, 128, 128)
    mask[:, 32:96, 32:96] = 1
    return {
        "cross": changes(seed=3, cross=1.0),
        "self": changes(own=1.0),
        "blend": changes(blend=blend),
        "masactrl": run_node(RetraceMasaCtrl, model=model, start_step=1, start_layer=0.3).result[0],
        "masked masactrl": run_node(
            RetraceMasaCtrl, model=model, start_step=1, start_layer=0.3, source_mask=mask
        ).result[0],
        "attention": run_node(RetracePlugAndPlay, model=model, attention_fraction=1.0, feature_fraction=0.0).result[0],
        "features": run_node(RetracePlugAndPlay, model=model, attention_fraction=0.0, feature_fraction=1.0).result[0],
    }


@pytest.mark.parametrize("layout", LAYOUTS)
def test_edits_change_the_target_each_in_its_way_and_never_the_source(models, relative, layout):
    """By far more than the 1e-6 by which the network's rounding could."""
    model = models(layout)[0]
    positive, state = rows(model, 1, 2), strangers()
    results = {"none": sample(model, positive, state)}
    results |= {name: sample(each, positive, state) for name, each in every_edit(model).items()}
    for (name, result), (other, its) in combinations(results.items(), 2):
        assert torch.equal(result[0], its[0]), (name, other)
        assert relative(result[1], its[1]) > 4e-3, (name, other)


@pytest.mark.parametrize("layout", ["sd15", "sdxl"])
def test_a_target_follows_the_source_and_no_other_target(models, relative, layout):
    """A target beside another source is another one under every edit and the same without; beside another target it stays."""
    model = models(layout)[0]
    noise = torch.cat([strangers(), 14 * torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(2))])
    positive = rows(model, 1, 2, 5)
    for name, edited in {"none": model, **every_edit(model, targets=2)}.items():
        result, other_source, other_target = (
            sample(edited, positive, noise[list(order)])[1] for order in ((0, 1, 2), (3, 1, 2), (0, 1, 3))
        )
        assert relative(other_target, result) < 1e-5, name
        assert (relative(other_source, result) > 1e-4) == (name != "none"), name


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("negative_tokens", [TOKENS, 2 * TOKENS])
def test_batched_or_not_is_the_same(models, relative, monkeypatch, layout, negative_tokens):
    """ComfyUI runs both prompts together or one after the other, as memory allows; a longer negative repeats our keys."""
    model = models(layout)[0]
    positive, state = rows(model, 1, 2), strangers()
    seen = set()

    def watched(patched):
        def watch(executor, x, t, concat, context, control, options, **more):
            seen.add(tuple(options["cond_or_uncond"]))
            return executor(x, t, concat, context, control, options, **more)

        patched.add_wrapper_with_key("apply_model", "watch", watch)
        return patched

    edits = [
        lambda: p2p(model, edit(seed=3, own=0.5, blend=BLEND)),
        lambda: run_node(RetraceMasaCtrl, model=model, start_step=1, start_layer=0.3).result[0],
        lambda: run_node(RetracePlugAndPlay, model=model, attention_fraction=0.6).result[0],
    ]
    together = [sample(watched(make()), positive, state, negative_tokens=negative_tokens) for make in edits]
    assert all(len(kinds) == 2 for kinds in seen)
    seen.clear()
    monkeypatch.setattr(model.model, "memory_required", lambda *args, **kwargs: 1e30)
    apart = [sample(watched(make()), positive, state, negative_tokens=negative_tokens) for make in edits]
    assert seen == {(0,), (1,)}
    for first, second in zip(together, apart, strict=True):
        assert relative(first, second) < 1e-4


def test_weights_that_are_cast_at_use_as_in_low_memory_mode(models, relative, monkeypatch):
    model = models("sd15")[0]
    positive, state = rows(model, 1, 2), strangers()
    patched = p2p(model, edit(seed=3, own=0.5))
    expected = sample(patched, positive, state)
    for module in model.model.diffusion_model.modules():
        if hasattr(module, "comfy_cast_weights"):
            monkeypatch.setattr(module, "comfy_cast_weights", True)
    assert relative(sample(patched, positive, state), expected) < 1e-5


def test_a_target_of_more_chunks_than_its_source(models, relative):
    model = models("sd15")[0]
    positive, state = rows(model, 1, 2), strangers()
    longer = torch.cat([positive[0][0], torch.randn(2, TOKENS, positive[0][0].shape[2])], 1)
    longer[0, TOKENS:] = longer[0, :TOKENS]
    mixed = PromptEdit((TOKENS, 2 * TOKENS), (cross_edit(seed=1, tokens=2 * TOKENS),), 0.0, None)
    result = sample(p2p(model, mixed), [[longer, positive[0][1]]], state)
    plain = sample(model, [[longer, positive[0][1]]], state)
    assert torch.equal(result[0], plain[0]) and relative(result[1], plain[1]) > 1e-4
    assert relative(plain[0], sample(model, positive, state)[0]) < 1e-4


def test_several_targets_are_each_their_own_edit(models, relative):
    model = models("sd15")[0]
    state = torch.cat([strangers(), strangers()[1:]])
    both = PromptEdit((TOKENS,) * 3, (cross_edit(seed=3), cross_edit(seed=4)), 0.5, None)
    result = sample(p2p(model, both), rows(model, 1, 2, 5), state)
    for target, seed in ((2, 3), (5, 4)):
        alone = sample(p2p(model, edit(own=0.5, seed=seed)), rows(model, 1, target), strangers())
        assert relative(result[1 if target == 2 else 2], alone[1]) < 1e-4


def test_a_mask_without_a_batch_is_read_whole(models):
    model = models("sd15")[0]
    mask = torch.zeros(8, 8)
    mask[2:6, 2:6] = 1
    bare, batched = (
        sample(
            run_node(RetraceMasaCtrl, model=model, start_step=0, start_layer=0.0, source_mask=each).result[0],
            rows(model, 1, 2),
            strangers(),
        )
        for each in (mask, mask[None])
    )
    assert torch.equal(bare, batched)


def test_a_mask_without_an_area_crops_nothing(models):
    model = models("sd15")[0]
    ((embedding, others),) = rows(model, 1, 2)
    positive = [[embedding, {**others, "mask": torch.ones(1, 8, 8), "set_area_to_bounds": False}]]
    for patched in (
        p2p(model, edit(blend=BLEND)),
        run_node(RetraceMasaCtrl, model=model, start_step=0, start_layer=0.0, source_mask=torch.ones(8, 8)).result[0],
    ):
        assert bool(torch.isfinite(sample(patched, positive, strangers())).all())


def test_a_run_leaves_nothing_to_the_next(models):
    """Maps of an interrupted run would open the blend elsewhere."""
    model = models("sd15")[0]
    positive, state = rows(model, 1, 2), strangers()
    patched = p2p(model, edit(seed=3, blend=BLEND))
    (after_step,) = model_changes(patched.model_options["transformer_options"]).changes
    first = sample(patched, positive, state)

    class StopError(Exception):
        pass

    stopping = patched.clone()

    def stop(args):
        raise StopError

    stopping.set_model_sampler_post_cfg_function(stop)
    with pytest.raises(StopError):
        sample(stopping, positive, state[:, :, :12])
    assert after_step.__self__.word_maps == {}
    assert torch.equal(sample(patched, positive, state), first)
    assert model_changes(model.model_options["transformer_options"]).changes == ()


def test_local_blend_acts_once(models, relative):
    """On the denoised prediction for a sampler without support for it, otherwise only where the sampler requests it."""
    model = models("sd15")[0]
    positive, state = rows(model, 1, 2), strangers()
    closed = LocalBlend(words=((3,), (3,)), subtracted=((), ()), threshold=2.0, start=0.0)
    patched = p2p(model, edit(cross=0, own=0, blend=closed))
    blended = sample(patched, positive, state)
    assert relative(blended[1], blended[0]) < 1e-5
    announced = patched.clone()
    apply_changes(announced)
    assert torch.equal(sample(announced, positive, state), sample(model, positive, state))
