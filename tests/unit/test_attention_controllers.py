"""attention/controllers and attention/local_blend against the references' formulas on random tensors, and P14's identities."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from retrace_pack.attention.alignment import Alignment
from retrace_pack.attention.controllers import CrossEdit, edit_cross_attention, edited_tokens, replaces_self_attention
from retrace_pack.attention.local_blend import LocalBlend, blend_rows, map_mask, sum_at_largest_size, word_map

TOKENS = 77


def maps(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).softmax(-1)


def edit(mapper, covered=None, equalizer=None, fractions=None) -> CrossEdit:
    ones = torch.ones(TOKENS)
    fractions = ones.double() if fractions is None else fractions
    return CrossEdit(
        Alignment(mapper, ones if covered is None else covered), ones if equalizer is None else equalizer, fractions
    )


def reference_cross(source, target, mapper, alphas, equalizer, active):
    """One target: replace has alphas 1, refine a permutation as mapper; reweighting multiplies; then the mix over words."""
    replaced = torch.einsum("hpw,wn->hpn", source, mapper)
    refined = replaced * alphas + target * (1 - alphas)
    return refined * equalizer * active + (1 - active) * target


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("kind", ["replace", "refine", "reweight", "refine and reweight"])
def test_the_edit_equals_the_reference(seed, kind):
    generator = torch.Generator().manual_seed(seed)
    source, target = maps(seed, 8, 64, TOKENS), maps(seed + 100, 8, 64, TOKENS)
    mapper, alphas, equalizer = torch.eye(TOKENS), torch.ones(TOKENS), torch.ones(TOKENS)
    if kind == "replace":
        mapper = torch.rand(TOKENS, TOKENS, generator=generator)
    if "refine" in kind:
        mapper = mapper[:, torch.randint(TOKENS, (TOKENS,), generator=generator)]
        alphas = (torch.rand(TOKENS, generator=generator) > 0.3).float()
    if "reweight" in kind:
        equalizer = 4 * torch.rand(TOKENS, generator=generator) - 1
    fractions = torch.rand(TOKENS, generator=generator).double()
    for step in (0, 13, 49):
        active = (step < (fractions * 51).floor()).float()
        ours = edit_cross_attention(edit(mapper, alphas, equalizer, fractions), source, target, step, 50)
        expected = reference_cross(source, target, mapper, alphas, equalizer, active)
        torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-6)


def test_p14_identity_edits_change_no_bit():
    target, other = maps(0, 8, 64, TOKENS), maps(1, 8, 64, TOKENS)
    assert torch.equal(edit_cross_attention(edit(torch.eye(TOKENS)), target, target, 3, 50), target)
    nothing = edit(torch.eye(TOKENS), fractions=torch.zeros(TOKENS).double())
    assert torch.equal(edit_cross_attention(nothing, other, target, 0, 50), target) and not nothing.is_active
    assert torch.equal(edit_cross_attention(edit(torch.eye(TOKENS), torch.zeros(TOKENS)), other, target, 0, 50), target)
    assert not torch.equal(edit_cross_attention(edit(torch.eye(TOKENS)), other, target, 3, 50), target)


@pytest.mark.parametrize(("fraction", "steps", "cross", "own"), [
    (0.8, 50, 40, 40), (0.4, 50, 20, 20), (0.6, 50, 30, 30), (1.0, 50, 50, 50), (0.0, 50, 0, 0), (0.5, 7, 4, 3),
    (0.29, 100, 29, 28),
])  # fmt: skip
def test_p14_the_number_of_edited_steps(fraction, steps, cross, own):
    """int(f (N + 1)) rows of cross-attention and int(f N) of self-attention, in double precision as Python counts."""
    fractions = torch.full((TOKENS,), fraction, dtype=torch.float64)
    active = [bool(edited_tokens(fractions, step, steps).all()) for step in range(steps)]
    assert active == [step < min(steps, int(fraction * (steps + 1))) for step in range(steps)]
    assert sum(active) == cross
    assert sum(replaces_self_attention(fraction, step, steps) for step in range(steps)) == own == int(fraction * steps)


def test_words_have_fractions_of_their_own():
    fractions = torch.full((TOKENS,), 0.8, dtype=torch.float64)
    fractions[5] = 0.2
    source, target = maps(0, 2, 4, TOKENS), maps(1, 2, 4, TOKENS)
    late = edit_cross_attention(edit(torch.eye(TOKENS), fractions=fractions), source, target, 20, 50)
    assert torch.equal(late[..., 5], target[..., 5])
    torch.testing.assert_close(late[..., 6], source[..., 6])


def reference_mask(layers, alpha, size, threshold, pool):
    """layers: a list of [rows, heads, side * side, tokens] of one side; alpha [rows, tokens]."""
    rows, _, pixels, tokens = layers[0].shape
    side = int(pixels**0.5)
    stacked = torch.cat([each.reshape(rows, -1, 1, side, side, tokens) for each in layers], 1)
    stacked = (stacked * alpha.view(rows, 1, 1, 1, 1, tokens)).sum(-1).mean(1)
    if pool:
        stacked = F.max_pool2d(stacked, (3, 3), (1, 1), padding=(1, 1))
    mask = F.interpolate(stacked, size=size)
    mask = mask / mask.max(2, keepdims=True)[0].max(3, keepdims=True)[0]
    mask = mask.gt(threshold)
    return mask[:1] + mask


def our_maps(layers, words):
    """Summed over the layers, as the patches do during sampling: [rows, 1, side, side]."""
    side = int(layers[0].shape[2] ** 0.5)
    rows = [sum(word_map(layer[row], tokens) for layer in layers) for row, tokens in enumerate(words)]
    return torch.stack(rows).view(len(words), 1, side, side)


@pytest.mark.parametrize("subtract", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_local_blend_equals_the_reference(seed, subtract):
    generator = torch.Generator().manual_seed(seed)
    # Blobs of attention, so that the masks are neither full nor empty.
    layers = [
        F.interpolate(torch.rand(3, TOKENS, 4, 4, generator=generator).pow(6), 16, mode="bilinear")
        .flatten(2)
        .mT[:, None]
        * torch.rand(3, 8, 1, 1, generator=generator)
        for _ in range(5)
    ]
    x = torch.randn(3, 4, 64, 64, generator=generator)
    words, closed = ((4,), (4, 5), (7,)), ((), (11,), (12, 13)) if subtract else ((), (), ())
    alpha = torch.stack([F.one_hot(torch.tensor(row), TOKENS).sum(0) for row in words])
    mask = reference_mask(layers, alpha, (64, 64), 0.3, True)
    if subtract:
        alpha = torch.stack([F.one_hot(torch.tensor(row, dtype=torch.long), TOKENS).sum(0) for row in closed])
        mask = mask * ~reference_mask(layers, alpha, (64, 64), 0.5, False)
    expected = x[:1] + mask.float() * (x - x[:1])
    blend = LocalBlend(words, closed, threshold=0.3, subtract_threshold=0.5)
    ours = blend.mask(our_maps(layers, words), our_maps(layers, closed), (64, 64))
    assert torch.equal(ours, mask.float()) and 0.02 < float(ours.mean()) < 0.98
    torch.testing.assert_close(blend_rows(x, ours), expected)


def test_a_blend_that_only_subtracts_is_open_everywhere_else():
    """In every row where neither the source's nor the row's own map of the things that stay is strong."""
    generator = torch.Generator().manual_seed(0)
    kept = torch.rand(2, 1, 8, 8, generator=generator)
    blend = LocalBlend(((), ()), ((3,), (3,)), subtract_threshold=0.5)
    strong = kept / kept.amax((2, 3), keepdim=True) > 0.5
    expected = ~(strong | strong[:1])
    assert torch.equal(blend.mask(torch.zeros(2, 1, 8, 8), kept, (8, 8)), expected.float())


@pytest.mark.parametrize("targets", [1, 3])
def test_a_region_closes_the_blend_outside_of_it(targets):
    """Of each target its own, or of all of them the same; a latent pixel half inside is outside."""
    generator = torch.Generator().manual_seed(1)
    opened, closed = (torch.rand(4, 1, 8, 8, generator=generator) for _ in range(2))
    everywhere = LocalBlend(((1,),) * 4, ((2,),) * 4, threshold=0.9, subtract_threshold=0.9)
    region = torch.zeros(targets, 1, 32, 32)
    for row in range(targets):
        region[row, :, 4 * row : 16, 6:17] = 1
    within = torch.zeros(targets, 1, 8, 8)
    for row in range(targets):
        within[row, :, row:4, 2:4] = 1
    expected = everywhere.mask(opened, closed, (8, 8))
    ours = replace(everywhere, region=region).mask(opened, closed, (8, 8))
    assert torch.equal(ours[1:], (expected[1:] * within)) and 0 < float(ours[1:].sum()) < float(within.sum() * 3)
    alone = LocalBlend(((),) * 4, ((),) * 4, region=region)
    assert not alone.reads_maps and everywhere.reads_maps
    assert torch.equal(
        alone.mask(torch.zeros(4, 1, 1, 1), torch.zeros(4, 1, 1, 1), (8, 8))[1:], within.expand(3, 1, 8, 8)
    )


def test_maps_of_several_sizes_are_summed_in_the_largest():
    coarse, fine = torch.rand(2, 3), torch.rand(4, 6)
    expected = fine + torch.kron(coarse, torch.ones(2, 2))
    torch.testing.assert_close(sum_at_largest_size([coarse, fine]), expected)
    assert torch.equal(sum_at_largest_size([coarse]), coarse)


def test_p14_a_blend_that_is_open_everywhere_changes_nothing_and_a_closed_one_gives_the_source():
    x = torch.randn(2, 4, 8, 8)
    everything = map_mask(torch.ones(2, 1, 4, 4), (8, 8), 0.3, pool=True)
    assert torch.equal(blend_rows(x, everything), x)
    nothing = map_mask(torch.zeros(2, 1, 4, 4), (8, 8), 0.3, pool=True)
    assert torch.equal(blend_rows(x, nothing), x[:1].expand_as(x))


def test_all_words_of_a_normalized_map_open_everything():
    probabilities = maps(0, 8, 64, TOKENS)
    opened = torch.stack([word_map(probabilities, range(TOKENS))] * 2).view(2, 1, 8, 8)
    assert bool(map_mask(opened, (16, 16), 0.3, pool=True).all())


@pytest.mark.parametrize(("start", "steps", "first"), [(0.2, 50, 10), (0.0, 50, 0), (0.5, 7, 3), (1.0, 10, 10)])
def test_the_blend_begins_as_the_reference_counts(start, steps, first):
    """Its counter, raised before each blend, must exceed int(start N)."""
    blend = LocalBlend(((1,),), ((),), start=start)
    begins = [blend.is_active(step, steps) for step in range(steps)]
    assert begins == [step + 1 > int(start * steps) for step in range(steps)] and np.sum(begins) == steps - first


def test_inputs_are_never_changed_in_place():
    source, target = maps(0, 2, 4, TOKENS), maps(1, 2, 4, TOKENS)
    kept = source.clone(), target.clone()
    edit_cross_attention(edit(torch.rand(TOKENS, TOKENS)), source, target, 0, 50)
    assert torch.equal(source, kept[0]) and torch.equal(target, kept[1])
    x = torch.randn(2, 4, 8, 8)
    before = x.clone()
    blend_rows(x, torch.zeros(2, 1, 8, 8))
    assert torch.equal(x, before)
