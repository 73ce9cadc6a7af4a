"""RetracePromptToPrompt, RetraceMasaCtrl and RetraceAttentionMask on tiny_sd15, really trained, with its own CLIP."""

import csv
from functools import partial
from pathlib import Path

import miniatures
import numpy as np
import pytest
import torch
from node_call import run_node
from retrace_pack.attention.prompt_edit import find_words
from retrace_pack.editing.blend_words import differing_words, shared_things
from retrace_pack.host.clip_prompts import CHUNK, encode_rows, prompt_tokens
from retrace_pack.nodes.attention_mask import RetraceAttentionMask
from retrace_pack.nodes.editing import RetraceEditSample
from retrace_pack.nodes.inversion import RetraceDDIMInvert
from retrace_pack.nodes.masactrl import RetraceMasaCtrl
from retrace_pack.nodes.prompt_to_prompt import RetracePromptToPrompt
from retrace_pack.nodes.trajectory import RetraceTrajectoryLatent
from tiny_models import photos
from tiny_models.photos import PHOTOS

SOURCE, TARGET = PHOTOS["ball"].before, PHOTOS["ball"].after
STEPS = 20


@pytest.fixture(scope="module")
def tiny():
    return miniatures.load()


@pytest.fixture(scope="module")
def inverted(tiny):
    """(picture, trajectory) of the red ball."""
    model, clip, vae = tiny
    picture = torch.from_numpy(photos.photo("ball")[None]).float() / 255
    with torch.inference_mode():
        positive = encode_rows(clip, [SOURCE])
        trajectory = run_node(
            RetraceDDIMInvert,
            model=model,
            positive=positive,
            negative=positive,
            latent={"samples": vae.encode(picture)},
            steps=STEPS,
            fixed_point_iterations=1,
        ).result[0]
    return picture, trajectory


def edit(tiny, **inputs):
    defaults = {
        "mode": "auto", "cross_replace": 0.8, "self_replace": 0.4, "reweight": "", "blend_words": "",
        "blend_threshold": 0.3, "blend_start": 0.2, "subtract_words": "", "subtract_threshold": 0.3,
        "cross_replace_words": "", "self_replace_layers": "half", "blend_layers": "quarter",
        "source_prompt": SOURCE, "target_prompts": SOURCE,
    }  # fmt: skip
    return run_node(RetracePromptToPrompt, model=tiny[0], clip=tiny[1], **{**defaults, **inputs}).result


def sample(tiny, model, positive, trajectory, cfg=3.0, hold_source=True):
    negative = encode_rows(tiny[1], [""])
    edited, source = run_node(
        RetraceEditSample,
        model=model,
        trajectory=trajectory,
        positive=positive,
        cfg=cfg,
        hold_source=hold_source,
        negative=negative,
    ).result
    return edited["samples"], source["samples"]


def mean_color(picture):
    """Of the ball in a picture [H, W, 3], 0 to 1."""
    return picture[torch.from_numpy(photos.mask("ball"))].mean(0).tolist()


def test_the_source_row_is_the_picture_and_the_blend_keeps_what_is_outside(tiny, inverted):
    """Under Edit Sample: the source held on its trajectory, and outside the word's region the edit is the source."""
    _, trajectory = inverted
    model, positive = edit(tiny, target_prompts=TARGET, blend_words="ball", blend_threshold=0.6, self_replace=0.8)
    edited, source = sample(tiny, model, positive, trajectory, cfg=5.0)
    torch.testing.assert_close(source, trajectory.latents[:1, 0], rtol=1e-3, atol=1e-3)
    picture = tiny[2].decode(edited)[0]
    red, green, blue = mean_color(picture)
    assert blue > red + 0.1 and blue > green + 0.05
    kept = edited[0] == source[0]
    assert 0.05 < float(kept.float().mean()) < 0.9
    inside = torch.from_numpy(photos.mask("ball")[4::8, 4::8])
    assert float(kept[0][inside].float().mean()) < 0.2


def test_a_new_background_leaves_the_subtracted_object(tiny, inverted):
    _, trajectory = inverted
    target = SOURCE.replace("tiled", "wooden").replace("green", "blue")
    model, positive = edit(
        tiny,
        target_prompts=target,
        subtract_words="ball",
        subtract_threshold=0.6,
        blend_layers="half",
        self_replace=0.4,
    )
    edited, source = sample(tiny, model, positive, trajectory, cfg=5.0)
    picture = tiny[2].decode(edited)[0]
    red, green, blue = mean_color(picture)
    assert red > max(green, blue) + 0.1
    (_, wall_green, wall_blue), (floor_red, _, floor_blue) = (
        part.mean((0, 1)) for part in (picture[:80], picture[200:])
    )
    assert wall_blue > wall_green + 0.05 and floor_red > floor_blue + 0.15, "neither a blue wall nor a wooden floor"
    inside = torch.from_numpy(photos.mask("ball")[4::8, 4::8])
    kept = (edited[0] == source[0])[0]
    assert float(kept[inside].float().mean()) > 0.7 > 0.3 > float(kept[~inside].float().mean())


def test_a_mask_says_where_and_words_narrow_it(tiny, inverted):
    """Outside the mask the target is the source, bit for bit; with words beside it their region is only smaller."""
    mask = torch.zeros(1, 256, 256)
    mask[:, :, 128:] = 1
    changes = {"target_prompts": TARGET, "blend_mask": mask}

    def opened(**more):
        edited, source = sample(tiny, *edit(tiny, **changes, **more), inverted[1])
        return (edited[0] != source[0]).any(0)

    masked, both = opened(), opened(blend_words="ball", blend_threshold=0.6)
    assert not bool(masked[:, :16].any()) and float(masked[:, 16:].float().mean()) > 0.99
    assert not bool((both & ~masked).any()) and 0.1 < float(both[:, 16:].float().mean()) < 0.9
    with pytest.raises(ValueError, match="^Prompt to Prompt: blend_mask: the mask holds NaN"):
        edit(tiny, blend_mask=mask * torch.nan)
    with pytest.raises(ValueError, match="^Prompt to Prompt: blend_mask: there are 2 masks, but 1 target"):
        edit(tiny, blend_mask=mask.repeat(2, 1, 1))


def test_the_words_that_differ_are_found_in_their_prompts(tiny):
    """Of 200 ordinary pairs, with weights and punctuation, by the tokenizer itself."""
    file = Path(__file__).resolve().parent.parent / "unit" / "prompt_pairs.csv"
    tokenize = partial(prompt_tokens, tiny[1])
    for pair in csv.DictReader(file.open(encoding="utf-8", newline="")):
        before, after = pair["before"], f"({pair['after']}:1.2), it's a 35mm-photo."
        words = differing_words(before, [after])
        assert words and any(find_words(words, "blend_words", [tokenize(before), tokenize(after)], tokenize))


def test_auto_blends_by_the_words_that_differ(tiny, inverted):
    changes = {"target_prompts": TARGET, "blend_threshold": 0.6}
    auto, named = (
        sample(tiny, *edit(tiny, **changes, blend_words=words), inverted[1])[0]
        for words in (" auto ", "red ball, blue ball")
    )
    assert torch.equal(auto, named)
    with pytest.raises(ValueError, match="^Prompt to Prompt: blend_words is auto, but the prompts have the same words"):
        edit(tiny, target_prompts=SOURCE, blend_words="auto")


def test_auto_keeps_the_things_that_all_prompts_name(tiny, inverted):
    target = SOURCE.replace("floor", "lawn")
    auto, named = (
        sample(tiny, *edit(tiny, target_prompts=target, subtract_words=words, subtract_threshold=0.5), inverted[1])[0]
        for words in (" auto ", ", ".join(shared_things(SOURCE, [target])))
    )
    assert torch.equal(auto, named)
    with pytest.raises(
        ValueError, match="^Prompt to Prompt: subtract_words is auto, but no thing is named in all prompts"
    ):
        edit(tiny, target_prompts="a watercolor", subtract_words="auto")


@pytest.mark.parametrize(("layers", "pixels"), [("full", 2), ("half", 2), ("quarter", 4)])
def test_a_region_is_as_fine_as_the_layers_that_it_is_read_from(tiny, inverted, layers, pixels):
    """The miniature attends at 16 x 16, half the latent's, which is also the nearest to its whole, and at 8 x 8."""
    model, positive = edit(
        tiny,
        target_prompts=TARGET,
        blend_words="ball",
        blend_threshold=0.6,
        blend_layers=layers,
    )
    edited, source = sample(tiny, model, positive, inverted[1])
    open_ = (edited[0] != source[0]).any(0)
    assert 0.05 < float(open_.float().mean()) < 0.95
    for side in (2, 4):
        blocks = open_.unfold(0, side, side).unfold(1, side, side).flatten(2)
        assert bool((blocks.all(-1) == blocks.any(-1)).all()) == (side <= pixels)


def test_several_targets_in_one_run(tiny, inverted):
    _, trajectory = inverted
    targets = [SOURCE.replace("red", color) for color in ("blue", "yellow")]
    model, positive = edit(tiny, target_prompts="\n\n".join(targets))
    assert positive[0][0].shape[:2] == (3, CHUNK)
    edited, _ = sample(tiny, model, positive, trajectory)
    for row, target in enumerate(targets):
        alone, _ = sample(tiny, *edit(tiny, target_prompts=target), trajectory)
        torch.testing.assert_close(edited[row], alone[0], rtol=1e-3, atol=5e-3)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"reweight": "cat:2"}, f"reweight: the word 'cat' is not in '{SOURCE}'"),
        ({"blend_words": "ball, dog"}, "blend_words: the word 'dog' is not in"),
        ({"blend_words": "ball", "subtract_words": "hat"}, "subtract_words: the word 'hat' is not in"),
        ({"cross_replace_words": "moon:0.5"}, "cross_replace_words: the word 'moon' is not in"),
        ({"cross_replace_words": "red:1.5"}, "has a fraction outside 0 to 1"),
        ({"reweight": "red"}, "reweight: 'red' is not a word with a number"),
        ({"mode": "replace", "target_prompts": "a ball"}, "has 15 words and the target prompt 'a ball' has 2"),
        ({"target_prompts": " \n"}, "target_prompts is empty"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(tiny, inputs, message):
    with pytest.raises(ValueError, match="Prompt to Prompt: ") as refusal:
        edit(tiny, **inputs)
    assert message in str(refusal.value)


def test_tokens_are_comfyuis_own(tiny):
    clip = tiny[1]
    plain = prompt_tokens(clip, "a large red circle, on it")
    weighted = prompt_tokens(clip, "a large (red circle:1.3), on it")
    assert [token.key for token in plain.content] == [token.key for token in weighted.content]
    assert [token.row for token in plain.content] == [1, 2, 3, 4, 5, 6, 7]
    assert plain.rows_of(prompt_tokens(clip, "red circle")) == (3, 4)
    assert plain.rows_of(prompt_tokens(clip, "circle,")) == (4, 5)
    assert prompt_tokens(clip, r"a \(red\) circle").rows_of(prompt_tokens(clip, "red")) == (3,)
    pieces = prompt_tokens(clip, "a xylophonist here")
    assert [len(word) for word in pieces.words][0::2] == [1, 1] and len(pieces.words[1]) > 1


def test_an_embedding_is_one_word(tiny, tmp_path):
    from safetensors.torch import save_file

    save_file({"emb_params": torch.randn(3, 128)}, tmp_path / "thing.safetensors")
    tokenizer = tiny[1].tokenizer.clip_l
    before = tokenizer.embedding_directory, tokenizer.embedding_size
    tokenizer.embedding_directory, tokenizer.embedding_size = [str(tmp_path)], 128
    try:
        tokens = prompt_tokens(tiny[1], "a red embedding:thing on blue")
        assert tokens.rows_of(prompt_tokens(tiny[1], "embedding:thing")) == (3, 4, 5)
        assert tokens.rows_of(prompt_tokens(tiny[1], "on")) == (6,)
    finally:
        tokenizer.embedding_directory, tokenizer.embedding_size = before


def test_prompts_of_several_chunks_share_one_conditioning(tiny):
    clip = tiny[1]
    long = " and ".join(["a red circle"] * 30)
    conditioning = encode_rows(clip, [SOURCE, long])
    assert conditioning[0][0].shape[:2] == (2, 2 * CHUNK)
    assert prompt_tokens(clip, long).rows == 2 * CHUNK
    assert prompt_tokens(clip, long).end_rows == (CHUNK - 1, CHUNK + 1 + 119 - 75)
    assert prompt_tokens(clip, "").end_rows == (1,)
    single = clip.encode_from_tokens_scheduled(clip.tokenize(SOURCE))[0][0]
    torch.testing.assert_close(conditioning[0][0][0], single[0].repeat(2, 1), rtol=1e-4, atol=1e-4)
    _, positive = edit(tiny, target_prompts=long)
    assert positive[0][0].shape[:2] == (2, 2 * CHUNK)


def test_masactrl_borrows_from_the_source_that_is_held(tiny, inverted):
    """Alone, a target is the same whether the source beside it is held or not; under MasaCtrl it follows the source's states, which
    themselves take nothing from the target."""
    _, trajectory = inverted
    plain, positive = edit(tiny, target_prompts=SOURCE.replace("ball", "cone"), cross_replace=0.0, self_replace=0.0)
    mutual, late = (
        run_node(RetraceMasaCtrl, model=plain, start_step=start, start_layer=0.5).result[0] for start in (4, STEPS)
    )
    alone = sample(tiny, plain, positive, trajectory, hold_source=False)
    free = sample(tiny, mutual, positive, trajectory, hold_source=False)
    held = sample(tiny, mutual, positive, trajectory)
    assert torch.equal(free[1], alone[1])
    torch.testing.assert_close(held[1], trajectory.latents[:1, 0], rtol=1e-3, atol=1e-3)
    for latent in (sample(tiny, late, positive, trajectory)[0], sample(tiny, plain, positive, trajectory)[0]):
        torch.testing.assert_close(latent, alone[0], rtol=1e-4, atol=1e-4)
    assert float((free[0] - alone[0]).abs().mean()) > 0.1
    assert float((held[0] - free[0]).abs().mean()) > 0.01


@pytest.mark.parametrize(
    "method",
    [
        {"method": "words", "words": "red ball"},
        {"method": "difference", "target_prompt": TARGET},
    ],
)
def test_a_mask_lies_on_the_object(tiny, inverted, method):
    picture, trajectory = inverted
    heat, mask = run_node(
        RetraceAttentionMask, model=tiny[0], clip=tiny[1], trajectory=trajectory, prompt=SOURCE, method=method, levels=4
    ).result
    assert heat.shape == picture.shape and mask.shape == picture.shape[:3]
    found, truth = mask[0].numpy() > 0.5, photos.mask("ball")
    assert (found & truth).sum() / (found | truth).sum() > 0.6
    value, grown = (
        run_node(
            RetraceAttentionMask,
            model=tiny[0],
            clip=tiny[1],
            trajectory=trajectory,
            prompt=SOURCE,
            method=method,
            levels=4,
            threshold="value",
            threshold_value=0.6,
            grow=grow,
        ).result[1]
        for grow in (0, 5)
    )
    assert np.all(grown[0].numpy() >= value[0].numpy()) and float(grown.mean()) > float(value.mean()) > 0


def test_a_mask_names_a_word_that_is_missing(tiny, inverted):
    for words, message in (("cat", "words: the word 'cat' is not in"), (" ", "words is empty")):
        with pytest.raises(ValueError, match=f"Attention Mask: {message}"):
            run_node(
                RetraceAttentionMask,
                model=tiny[0],
                clip=tiny[1],
                trajectory=inverted[1],
                prompt=SOURCE,
                method={"method": "words", "words": words},
                levels=4,
            )


def test_the_local_blend_under_a_stock_sampler_is_close_to_that_of_edit_sample(tiny, inverted):
    """There it acts on the denoised prediction, an approximation: as good as the same outside the region, near inside."""
    import comfy.sample
    import comfy.samplers
    from retrace_pack.measuring.compare import compare_images

    _, trajectory = inverted
    target = TARGET
    model, positive = edit(tiny, target_prompts=target, blend_words="ball", blend_threshold=0.6, self_replace=0.8)
    negative = encode_rows(tiny[1], [""])
    (latent, sigmas) = run_node(RetraceTrajectoryLatent, trajectory=trajectory).result
    start = latent["samples"].repeat(2, 1, 1, 1)
    source, stock = comfy.sample.sample_custom(
        model, torch.zeros_like(start), 3.0, comfy.samplers.sampler_object("euler"), sigmas, positive, negative, start,
        disable_pbar=True,
    )  # fmt: skip
    freely = run_node(
        RetraceEditSample,
        model=model,
        trajectory=trajectory,
        positive=positive,
        cfg=3.0,
        hold_source=False,
        negative=negative,
    )
    ours, our_source = (latent["samples"] for latent in freely.result)
    torch.testing.assert_close(source, our_source[0], rtol=1e-3, atol=1e-2)
    pictures = [tiny[2].decode(samples) for samples in (stock[None], ours, our_source)]
    alike, changed = (compare_images(pictures[0], other).mean_psnr for other in pictures[1:])
    assert alike > 45 > 25 > changed
    kept = (ours[0] == our_source[0]).all(0)
    torch.testing.assert_close(stock[:, kept], source[:, kept], rtol=1e-3, atol=1e-2)
