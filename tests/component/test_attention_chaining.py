"""Where the edits' attention patches are in a model, and how they combine with other packs' patches and with each other."""

import pytest
import torch
from node_call import run_node
from random_edits import BLEND, edit, p2p, rows, sample, strangers, twins
from retrace_pack.host.backbone import nearest_resolution
from retrace_pack.host.backbones import backbone_of
from retrace_pack.host.plain_attention import plain_attention
from retrace_pack.nodes.masactrl import RetraceMasaCtrl
from retrace_pack.nodes.plug_and_play import RetracePlugAndPlay


def halved(q, k, v, options):
    """Another pack's patch."""
    return 0.5 * plain_attention(q, k, v, options)


@pytest.mark.parametrize("kind", ["attn1", "attn2"])
@pytest.mark.parametrize("whole_block", [False, True])
def test_an_earlier_patch_is_kept_and_ours_added(models, relative, kind, whole_block):
    model = models("sdxl")[0]
    positive, state = rows(model, 1, 2), strangers()

    def before(function):
        earlier = model.clone()
        for place in backbone_of(model).places:
            key = place.block, place.number, place.index
            earlier.set_model_patch_replace(function, kind, *key[: 2 if whole_block else 3])
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
def test_a_later_patch_acts_as_an_earlier_one_does(models, relative, whole_block):
    model = models("sd15")[0]
    positive, state = rows(model, 1, 2), strangers()

    def with_halved(of):
        later = of.clone()
        later.set_model_attn2_replace(halved, *("output", 1, 0)[: 2 if whole_block else 3])
        return later

    ours = edit(seed=3, own=0.7)
    result = sample(with_halved(p2p(model, ours)), positive, state)
    assert torch.equal(result, sample(p2p(with_halved(model), ours), positive, state))
    assert relative(result[1], sample(p2p(model, ours), positive, state)[1]) > 1e-4
    assert relative(result[1], sample(with_halved(model), positive, state)[1]) > 1e-4


def test_our_own_edits_chain(models, relative):
    model = models("sd15")[0]
    positive, state = rows(model, 1, 2), strangers()
    first = p2p(model, edit(seed=3, own=0.3))
    both = run_node(RetraceMasaCtrl, model=first, start_step=1, start_layer=0.0).result[0]
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
        run_node(RetracePlugAndPlay, model=model)
    run_node(RetracePlugAndPlay, model=model, feature_fraction=0.0)


def test_layers_are_found_by_their_size_relative_to_the_latent(models):
    unet = backbone_of(models("sd15")[0])
    assert [(place.block, layer.resolution) for place, layer in zip(unet.places, unet.layers, strict=True)] == [
        ("input", 0), ("input", 1), ("middle", 1), ("output", 1), ("output", 1), ("output", 0), ("output", 0),
    ]  # fmt: skip
    assert nearest_resolution(unet.layers) == 1
    assert {layer.resolution for layer in backbone_of(models("sdxl")[0]).layers} == {1}


def test_patches_sit_only_where_they_act_and_leave_with_the_run(models):
    model = models("sd15")[0]

    def patched(changes, **resolutions):
        of_the_run = {}

        def watch(executor, *args, **more):
            options = args[5]
            of_the_run.update({kind: len(layers) for kind, layers in options.get("patches_replace", {}).items()})
            return executor(*args, **more)

        edited = p2p(model, changes, **resolutions)
        edited.add_wrapper_with_key("apply_model", "watch", watch)
        sample(edited, rows(model, 1, 2), strangers())
        assert "patches_replace" not in edited.model_options["transformer_options"]
        return of_the_run

    assert patched(edit(cross=0, own=0)) == {}
    assert patched(edit(own=0)) == {"attn2": 7}
    blended = edit(cross=0, own=0, blend=BLEND)
    assert [patched(blended, blend_resolution=each) for each in (2, 1, 0)] == [{"attn2": 4}, {"attn2": 4}, {"attn2": 7}]
    assert patched(edit(cross=0), resolution=1) == {"attn1": 4}


def test_the_options_of_a_guider_are_its_own_again_behind_the_run(models):
    """As a wrapper of another pack sees them, around ours."""
    model, seen = models("sd15")[0].clone(), []

    def watch(executor, *args, **more):
        options = executor.class_obj.model_options
        result = executor(*args, **more)
        seen.append(executor.class_obj.model_options is options)
        return result

    model.add_wrapper_with_key("outer_sample", "watch", watch)
    sample(p2p(model, edit()), rows(model, 1, 2), strangers())
    assert seen == [True]
