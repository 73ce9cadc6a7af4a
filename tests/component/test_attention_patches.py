"""host/attention and the edits on it, through ComfyUI's sampling on miniature layouts with random weights: RetracePromptToPrompt's,
RetraceMasaCtrl's and RetracePlugAndPlay's patches."""

from dataclasses import replace

import pytest
import torch
from random_models import random_conditioning
from retrace_pack.attention.alignment import Alignment
from retrace_pack.attention.controllers import CrossEdit
from retrace_pack.attention.local_blend import LocalBlend
from retrace_pack.attention.prompt_edit import PromptEdit
from retrace_pack.host.attention import attention_layers, plain_attention, quarter_level
from retrace_pack.host.editing import AFTER_STEP, ANNOUNCEMENT
from retrace_pack.host.prompt_to_prompt import patch_prompt_to_prompt
from retrace_pack.nodes.attention import RetraceMasaCtrl, RetracePlugAndPlay

LAYOUTS = ["sd15", "sd2_v", "sdxl"]
STEPS, TOKENS = 4, 77
BLEND = LocalBlend(words=((3,), (3, 4)), subtracted=((), ()), start=0.0)


def cross_edit(cross=1.0, seed=None, tokens=TOKENS):
    mapper = torch.eye(TOKENS, tokens)
    if seed is not None:
        mapper = torch.rand(TOKENS, tokens, generator=torch.Generator().manual_seed(seed)).softmax(0)
    ones = torch.ones(tokens)
    return CrossEdit(Alignment(mapper, ones), ones, torch.full((tokens,), cross, dtype=torch.float64))


def edit(cross=1.0, own=1.0, seed=None, blend=None):
    return PromptEdit((TOKENS, TOKENS), (cross_edit(cross, seed),), own, blend)


def p2p(model, changes, level=0):
    return patch_prompt_to_prompt(model, changes, level, "Prompt to Prompt")


def rows(model, *seeds):
    """One CONDITIONING whose rows are random prompts."""
    single = [random_conditioning(model, seed)[0] for seed in seeds]
    return [
        [
            torch.cat([each[0] for each in single]),
            {"pooled_output": torch.cat([each[1]["pooled_output"] for each in single])},
        ]
    ]


def sample(model, positive, samples, cfg=3.0, negative_tokens=TOKENS, steps=STEPS, **of_the_negative):
    import comfy.sample
    import comfy.samplers

    ((embedding, settings),) = random_conditioning(model, 9)
    negative = [[embedding.repeat(1, negative_tokens // TOKENS, 1), {**settings, **of_the_negative}]]
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "ddim_uniform", steps)
    euler = comfy.samplers.sampler_object("euler")
    zero = torch.zeros_like(samples)
    return comfy.sample.sample_custom(model, zero, cfg, euler, sigmas, positive, negative, samples, disable_pbar=True)


def twins(height=16, width=16, count=2):
    single = 14 * torch.randn(1, 4, height, width, generator=torch.Generator().manual_seed(0))
    return single.repeat(count, 1, 1, 1)


def strangers():
    return 14 * torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(1))


def relative(ours, expected):
    return float((ours - expected).abs().max() / expected.abs().max())


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
        RetraceMasaCtrl.execute(model, STEPS, 0.0).result[0],
        RetracePlugAndPlay.execute(model, 0.1, 0.1).result[0],
    ):
        assert torch.equal(sample(patched, positive, state), expected)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_same_prompt_and_state_in_both_rows_stay_as_they_are(models, layout):
    """But for the rounding by which the network itself tells equal rows of a batch apart."""
    model = models(layout)[0]
    positive, state = rows(model, 1, 1), twins()
    expected = sample(model, positive, state)
    for patched in (
        p2p(model, edit()),
        RetraceMasaCtrl.execute(model, 0, 0.0).result[0],
        RetracePlugAndPlay.execute(model, 1.0, 1.0).result[0],
    ):
        assert relative(sample(patched, positive, state), expected) < 1e-3


def test_an_identity_edit_of_equal_rows_changes_no_bit(models):
    """Of rows that are equal to the last bit: every layer's attention under the patch is the plain one."""
    model = models("sd15")[0]
    patched = p2p(model, edit())
    replaced = patched.model_options["transformer_options"]["patches_replace"]
    (after_begin,) = patched.get_all_wrappers("outer_sample")
    options = {
        "cond_or_uncond": [1, 0], "sigmas": torch.ones(1), "sample_sigmas": torch.tensor([2.0, 1.0, 0.0]), "n_heads": 8,
        "dim_head": 4, "attn_precision": None, "activations_shape": [4, 32, 8, 8],
    }  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    q, k, v = (
        torch.randn(2, 1, tokens, 32, generator=generator).repeat(1, 2, 1, 1).flatten(0, 1)
        for tokens in (64, TOKENS, TOKENS)
    )
    seen = []

    class Guider:
        model_options = patched.model_options
        conds = {"positive": []}

    def run(executor, *args):
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


@pytest.mark.parametrize("layout", LAYOUTS)
def test_edits_change_the_target_and_never_the_source(models, latent, layout):
    model = models(layout)[0]
    positive, state = rows(model, 1, 2), strangers()
    plain = sample(model, positive, state)
    mask = torch.zeros(1, 128, 128)
    mask[:, 32:96, 32:96] = 1
    patched = {
        "cross": p2p(model, edit(seed=3, own=0)),
        "self": p2p(model, edit(cross=0)),
        "blend": p2p(model, edit(cross=0, own=0, blend=replace(BLEND, threshold=0.95))),
        "masactrl": RetraceMasaCtrl.execute(model, 1, 0.3).result[0],
        "masked masactrl": RetraceMasaCtrl.execute(model, 1, 0.3, mask).result[0],
        "attention": RetracePlugAndPlay.execute(model, 1.0, 0.0).result[0],
        "features": RetracePlugAndPlay.execute(model, 0.0, 1.0).result[0],
    }
    results = {name: sample(each, positive, state) for name, each in patched.items()}
    for name, result in results.items():
        assert torch.equal(result[0], plain[0]), name
        assert relative(result[1], plain[1]) > 1e-4, name
    assert relative(results["masactrl"][1], results["masked masactrl"][1]) > 1e-4


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("negative_tokens", [TOKENS, 2 * TOKENS])
def test_batched_or_not_is_the_same(models, monkeypatch, layout, negative_tokens):
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
        lambda: RetraceMasaCtrl.execute(model, 1, 0.3).result[0],
        lambda: RetracePlugAndPlay.execute(model, 0.6, 0.8).result[0],
    ]
    together = [sample(watched(make()), positive, state, negative_tokens=negative_tokens) for make in edits]
    assert all(len(kinds) == 2 for kinds in seen)
    seen.clear()
    monkeypatch.setattr(model.model, "memory_required", lambda *args, **kwargs: 1e30)
    apart = [sample(watched(make()), positive, state, negative_tokens=negative_tokens) for make in edits]
    assert seen == {(0,), (1,)}
    for first, second in zip(together, apart, strict=True):
        assert relative(first, second) < 1e-4


def test_weights_that_are_cast_at_use_as_in_low_memory_mode(models, monkeypatch):
    model = models("sd15")[0]
    positive, state = rows(model, 1, 2), strangers()
    patched = p2p(model, edit(seed=3, own=0.5))
    expected = sample(patched, positive, state)
    for module in model.model.diffusion_model.modules():
        if hasattr(module, "comfy_cast_weights"):
            monkeypatch.setattr(module, "comfy_cast_weights", True)
    assert relative(sample(patched, positive, state), expected) < 1e-5


def test_a_target_of_more_chunks_than_its_source(models):
    model = models("sd15")[0]
    positive, state = rows(model, 1, 2), strangers()
    longer = torch.cat([positive[0][0], torch.randn(2, TOKENS, positive[0][0].shape[2])], 1)
    longer[0, TOKENS:] = longer[0, :TOKENS]
    mixed = PromptEdit((TOKENS, 2 * TOKENS), (cross_edit(seed=1, tokens=2 * TOKENS),), 0.0, None)
    result = sample(p2p(model, mixed), [[longer, positive[0][1]]], state)
    plain = sample(model, [[longer, positive[0][1]]], state)
    assert torch.equal(result[0], plain[0]) and relative(result[1], plain[1]) > 1e-4
    assert relative(plain[0], sample(model, positive, state)[0]) < 1e-4


def test_several_targets_are_each_their_own_edit(models):
    model = models("sd15")[0]
    state = torch.cat([strangers(), strangers()[1:]])
    both = PromptEdit((TOKENS,) * 3, (cross_edit(seed=3), cross_edit(seed=4)), 0.5, None)
    result = sample(p2p(model, both), rows(model, 1, 2, 5), state)
    for target, seed in ((2, 3), (5, 4)):
        alone = sample(p2p(model, edit(own=0.5, seed=seed)), rows(model, 1, target), strangers())
        assert relative(result[1 if target == 2 else 2], alone[1]) < 1e-4


def halved(q, k, v, options):
    """Another pack's patch."""
    return 0.5 * plain_attention(q, k, v, options)


@pytest.mark.parametrize("kind", ["attn1", "attn2"])
@pytest.mark.parametrize("whole_block", [False, True])
def test_an_earlier_patch_is_kept_and_ours_added(models, kind, whole_block):
    model = models("sdxl")[0]
    positive, state = rows(model, 1, 2), strangers()

    def before(function):
        earlier = model.clone()
        for layer in attention_layers(model, "test"):
            earlier.set_model_patch_replace(function, kind, *layer.key[: 2 if whole_block else 3])
        return earlier

    assert torch.equal(
        sample(p2p(before(halved), edit()), rows(model, 1, 1), twins()),
        sample(before(halved), rows(model, 1, 1), twins()),
    )
    ours = edit(seed=3, own=0.7)
    chained, plain = sample(p2p(before(halved), ours), positive, state), sample(before(halved), positive, state)
    assert torch.equal(chained[0], plain[0]) and relative(chained[1], plain[1]) > 1e-4
    assert relative(chained[1], sample(p2p(model, ours), positive, state)[1]) > 1e-4
    through = sample(p2p(before(plain_attention), ours), positive, state)
    assert relative(through, sample(p2p(model, ours), positive, state)) < 1e-4


@pytest.mark.parametrize("whole_block", [False, True])
def test_a_later_patch_that_would_lose_one_of_both_is_refused(models, whole_block):
    model = models("sd15")[0]
    patched = p2p(model, edit()).clone()
    patched.set_model_attn2_replace(halved, *("output", 1, 0)[: 2 if whole_block else 3])
    with pytest.raises(
        ValueError, match=r"Prompt to Prompt: another node further on replaces .*\(output 1\).*put Prompt to Prompt"
    ):
        sample(patched, rows(model, 1, 2), strangers())


def test_our_own_edits_chain(models):
    model = models("sd15")[0]
    positive, state = rows(model, 1, 2), strangers()
    first = p2p(model, edit(seed=3, own=0.3))
    both = RetraceMasaCtrl.execute(first, 1, 0.0).result[0]
    result = sample(both, positive, state)
    assert relative(result[1], sample(first, positive, state)[1]) > 1e-4
    assert torch.equal(result[0], sample(model, positive, state)[0])
    again = p2p(first, edit(seed=3, own=0.3))
    assert bool(torch.isfinite(sample(again, positive, state)).all())


def test_an_occupied_residual_block_is_refused(models):
    from comfy.ldm.modules.diffusionmodules.openaimodel import ResBlock

    model = models("sd15")[0].clone()
    model.set_model_forward_timestep_embed_patch((ResBlock, lambda block, x, emb, *_: block(x, emb)))
    with pytest.raises(ValueError, match="Plug and Play: another node before it already replaces"):
        RetracePlugAndPlay.execute(model, 0.5, 0.8)
    RetracePlugAndPlay.execute(model, 0.5, 0.0)


@pytest.mark.parametrize("node", ["Prompt to Prompt", "MasaCtrl", "Plug and Play"])
def test_a_model_without_a_unet_is_refused(models, node):
    model = models("sd15")[0].clone()
    model.add_object_patch("diffusion_model", torch.nn.Linear(1, 1))
    make = {
        "Prompt to Prompt": lambda: p2p(model, edit()),
        "MasaCtrl": lambda: RetraceMasaCtrl.execute(model, 0, 0.0),
        "Plug and Play": lambda: RetracePlugAndPlay.execute(model, 0.5, 0.5),
    }[node]
    with pytest.raises(ValueError, match=rf"{node}: the model \(BaseModel\) has no UNet with cross-attention"):
        make()


def test_a_batch_or_a_conditioning_that_does_not_fit_is_refused_before_the_network_is_asked(models, monkeypatch):
    model = models("sd15")[0]
    monkeypatch.setattr(model.model, "apply_model", None)
    with pytest.raises(ValueError, match="the latent batch has 3 rows, but there are 2 prompts"):
        sample(p2p(model, edit()), rows(model, 1, 2), twins(count=3))
    with pytest.raises(ValueError, match=r"the positive conditioning has the shape \(1, 77, 128\).*positive input"):
        sample(p2p(model, edit()), rows(model, 1), strangers())
    with pytest.raises(ValueError, match="MasaCtrl: the latent batch has one row"):
        sample(RetraceMasaCtrl.execute(model, 0, 0.0).result[0], rows(model, 1), twins(count=1))
    with pytest.raises(ValueError, match="MasaCtrl: target_mask is connected but source_mask is not"):
        RetraceMasaCtrl.execute(model, 0, 0.0, None, torch.ones(1, 8, 8))


@pytest.mark.parametrize(("mask", "message"), [
    (torch.ones(2, 8, 8), "holds 2 masks, but one counts for every target; give one mask"),
    (torch.full((1, 8, 8), torch.nan), "the mask holds NaN"),
    (torch.ones(1, 8, 8, 3), r"the mask has the shape \(1, 8, 8, 3\)"),
])  # fmt: skip
def test_a_mask_that_is_not_one_mask_is_refused(models, mask, message):
    model, good = models("sd15")[0], torch.ones(1, 8, 8)
    with pytest.raises(ValueError, match=f"^MasaCtrl: source_mask.* {message}"):
        RetraceMasaCtrl.execute(model, 0, 0.0, mask)
    with pytest.raises(ValueError, match=f"^MasaCtrl: target_mask.* {message}"):
        RetraceMasaCtrl.execute(model, 0, 0.0, good, mask)


def test_a_mask_without_a_batch_is_read_whole(models):
    model = models("sd15")[0]
    mask = torch.zeros(8, 8)
    mask[2:6, 2:6] = 1
    bare, batched = (
        sample(RetraceMasaCtrl.execute(model, 0, 0.0, each).result[0], rows(model, 1, 2), strangers())
        for each in (mask, mask[None])
    )
    assert torch.equal(bare, batched)


@pytest.mark.parametrize("settings", [
    {"area": (8, 8, 4, 4)},
    {"area": ("percentage", 0.5, 0.5, 0.25, 0.25)},
    {"mask": torch.ones(1, 8, 8), "set_area_to_bounds": True},
])  # fmt: skip
@pytest.mark.parametrize("of", ["positive", "negative"])
def test_an_area_is_refused_where_maps_or_masks_are_those_of_the_whole_picture(models, monkeypatch, settings, of):
    """ComfyUI runs the network on a crop then, and the edit would act in another place; an area of one prompt is given to
    the other as well."""
    model = models("sd15")[0]
    ((embedding, others),) = rows(model, 1, 2)
    positive = [[embedding, {**others, **(settings if of == "positive" else {})}]]
    of_the_negative = settings if of == "negative" else {}
    for patched in (p2p(model, edit()), RetraceMasaCtrl.execute(model, 0, 0.0).result[0]):
        assert bool(torch.isfinite(sample(patched, positive, strangers(), **of_the_negative)).all())
    monkeypatch.setattr(model.model, "apply_model", None)
    with pytest.raises(ValueError, match="^Prompt to Prompt: a conditioning has an area, .* or the blend_words"):
        sample(p2p(model, edit(blend=BLEND)), positive, strangers(), **of_the_negative)
    with pytest.raises(ValueError, match="^MasaCtrl: a conditioning has an area, .* or the masks"):
        masked = RetraceMasaCtrl.execute(model, 0, 0.0, torch.ones(1, 8, 8)).result[0]
        sample(masked, positive, strangers(), **of_the_negative)


def test_a_mask_without_an_area_crops_nothing(models):
    model = models("sd15")[0]
    ((embedding, others),) = rows(model, 1, 2)
    positive = [[embedding, {**others, "mask": torch.ones(1, 8, 8), "set_area_to_bounds": False}]]
    for patched in (p2p(model, edit(blend=BLEND)), RetraceMasaCtrl.execute(model, 0, 0.0, torch.ones(8, 8)).result[0]):
        assert bool(torch.isfinite(sample(patched, positive, strangers())).all())


def test_a_run_leaves_nothing_to_the_next(models):
    """Maps of an interrupted run would open the blend elsewhere."""
    model = models("sd15")[0]
    positive, state = rows(model, 1, 2), strangers()
    patched = p2p(model, edit(seed=3, blend=BLEND))
    (after_step,) = patched.model_options["transformer_options"][AFTER_STEP]
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
    assert model.model_options["transformer_options"].get(AFTER_STEP) is None


def test_local_blend_acts_once(models):
    """On the denoised prediction for a sampler that knows nothing of it, else only where the sampler asks."""
    model = models("sd15")[0]
    positive, state = rows(model, 1, 2), strangers()
    closed = LocalBlend(words=((3,), (3,)), subtracted=((), ()), threshold=2.0, start=0.0)
    patched = p2p(model, edit(cross=0, own=0, blend=closed))
    blended = sample(patched, positive, state)
    assert relative(blended[1], blended[0]) < 1e-5
    announced = patched.clone()
    announced.model_options["transformer_options"][ANNOUNCEMENT] = True
    assert torch.equal(sample(announced, positive, state), sample(model, positive, state))


def test_layers_are_found_by_their_size_relative_to_the_latent(models):
    layers = attention_layers(models("sd15")[0], "test")
    assert [(layer.block, layer.level) for layer in layers] == [
        ("input", 0), ("input", 1), ("middle", 1), ("output", 1), ("output", 1), ("output", 0), ("output", 0),
    ]  # fmt: skip
    assert quarter_level(layers) == 1 and {layer.level for layer in attention_layers(models("sdxl")[0], "test")} == {1}


def test_patches_sit_only_where_they_act(models):
    model = models("sd15")[0]

    def patched(changes, level=0):
        replaced = p2p(model, changes, level).model_options["transformer_options"].get("patches_replace", {})
        return {kind: len(layers) for kind, layers in replaced.items()}

    assert patched(edit(cross=0, own=0)) == {}
    assert patched(edit(own=0)) == {"attn2": 7}
    assert patched(edit(cross=0, own=0, blend=BLEND)) == {"attn2": 4}
    assert patched(edit(cross=0), level=1) == {"attn1": 4}
