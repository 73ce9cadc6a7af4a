"""Attention edits when the network is evaluated on tiles of the picture, or its queries are tiles.

The tilers are core's own nodes where core has them; for other packs, a short function does what they do.
"""

from __future__ import annotations

import pytest
import torch
from comfy_extras.nodes_hypertile import HyperTile
from comfy_extras.nodes_tomesd import TomePatchModel
from node_call import run_node
from random_edits import BLEND, edit, p2p, rows, sample, strangers
from retrace_pack.host import unet
from retrace_pack.nodes import attention_mask
from retrace_pack.nodes.masactrl import RetraceMasaCtrl
from retrace_pack.nodes.plug_and_play import RetracePlugAndPlay

MASK = torch.zeros(1, 16, 16)
MASK[:, 4:12, 4:12] = 1


def masactrl(model, mask=None):
    return run_node(RetraceMasaCtrl, model=model, start_step=0, start_layer=0.0, source_mask=mask).result[0]


def plug_and_play(model, attention=1.0, features=1.0):
    return run_node(RetracePlugAndPlay, model=model, attention_fraction=attention, feature_fraction=features).result[0]


EDITS = {
    "Prompt to Prompt": lambda model: p2p(model, edit(seed=3)),
    "Prompt to Prompt, cross-attention": lambda model: p2p(model, edit(seed=3, own=0)),
    "Prompt to Prompt, self-attention": lambda model: p2p(model, edit(cross=0)),
    "MasaCtrl": masactrl,
    "Plug and Play, attention": lambda model: plug_and_play(model, features=0.0),
    "Plug and Play, features": lambda model: plug_and_play(model, attention=0.0),
}


def in_tiles(model, together: int):
    """TiledDiffusion: evaluates the network on crops, several of them together; everything else is repeated for each."""
    crops = [(slice(top, top + 8), slice(left, left + 8)) for top in (0, 8) for left in (0, 8)]

    def evaluate(apply_model, arguments):
        x, result = arguments["input"], torch.zeros_like(arguments["input"])
        for first in range(0, len(crops), together):
            some = crops[first : first + together]
            tiles = torch.cat([x[..., height, width] for height, width in some])
            repeated = {
                name: torch.cat([each] * len(some)) if isinstance(each, torch.Tensor) else each
                for name, each in arguments["c"].items()
            }
            out = apply_model(tiles, torch.cat([arguments["timestep"]] * len(some)), **repeated)
            for (height, width), tile in zip(some, out.chunk(len(some)), strict=True):
                result[..., height, width] = tile
        return result

    tiled = model.clone()
    tiled.set_model_unet_function_wrapper(evaluate)
    return tiled


@pytest.mark.parametrize("name", EDITS)
def test_tiles_that_are_evaluated_together_are_refused(models, name):
    """Which of its rows are of one tile no edit can know; one tile after the other is edited as the whole would be."""
    model = models("sd15")[0]
    positive, state, node = rows(model, 1, 2), strangers(), name.partition(",")[0]
    with pytest.raises(
        ValueError, match=f"^{node}: the network is evaluated on 16 rows at once, .* tile_batch_size to 1"
    ):
        sample(in_tiles(EDITS[name](model), 4), positive, state)
    alone = sample(in_tiles(EDITS[name](model), 1), positive, state)
    plain = sample(in_tiles(model, 1), positive, state)
    assert torch.equal(alone[0], plain[0])
    for tile in (alone - plain)[1].unfold(1, 8, 8).unfold(2, 8, 8).flatten(1, 2).movedim(0, 1).split(1):
        assert float(tile.abs().max()) > 1e-3


def test_crops_are_refused_where_maps_or_masks_are_those_of_the_whole_picture(models, random_task):
    model = models("sd15")[0]
    positive, state = rows(model, 1, 2), strangers()
    with pytest.raises(ValueError, match="^Prompt to Prompt: the network is evaluated on crops .* blend_words"):
        sample(in_tiles(p2p(model, edit(blend=BLEND)), 1), positive, state)
    with pytest.raises(ValueError, match="^MasaCtrl: the network is evaluated on crops .* source_mask"):
        sample(in_tiles(masactrl(model, MASK), 1), positive, state)


def test_a_reader_of_maps_refuses_crops_and_tiles(models, random_task, monkeypatch):
    task = random_task()
    monkeypatch.setattr(unet, "encode_rows", lambda clip, texts: task.source)
    monkeypatch.setattr(unet, "prompt_tokens", lambda clip, text: text)
    monkeypatch.setattr(attention_mask, "find_words", lambda *of: ([1],))
    model, trajectory = models("sd15")[0], task.invert()
    half = torch.nn.functional.interpolate

    def smaller(apply_model, arguments):
        out = apply_model(half(arguments["input"], scale_factor=0.5), arguments["timestep"], **arguments["c"])
        return half(out, scale_factor=2.0)

    def twice(apply_model, arguments):
        c = {
            name: torch.cat([each] * 2) if isinstance(each, torch.Tensor) else each
            for name, each in arguments["c"].items()
        }
        return apply_model(torch.cat([arguments["input"]] * 2), torch.cat([arguments["timestep"]] * 2), **c).chunk(2)[0]

    for evaluate, message in ((smaller, "evaluated on crops"), (twice, "evaluated on 2 rows at once")):
        changed = model.clone()
        changed.set_model_unet_function_wrapper(evaluate)
        with pytest.raises(ValueError, match=f"^Attention Mask: the network is {message}"):
            run_node(
                attention_mask.RetraceAttentionMask,
                model=changed,
                clip=object(),
                trajectory=trajectory,
                prompt="a",
                method={"method": "words", "words": "a"},
            )


@pytest.mark.parametrize("name", EDITS)
def test_hypertile_leaves_the_source_row_as_it_is(models, relative, name):
    """Core's node cuts the queries into tiles, so that there are more rows of queries than of keys."""
    model = models("sd15")[0]
    positive, state = rows(model, 1, 2), strangers()

    def tiled(of):
        return HyperTile.execute(of, 32, 2, 0, False)[0]

    plain, result = sample(tiled(model), positive, state), sample(tiled(EDITS[name](model)), positive, state)
    assert torch.equal(result[0], plain[0]) and relative(result[1], plain[1]) > 1e-4
    assert not torch.equal(plain, sample(model, positive, state))


@pytest.mark.parametrize("neighbor", [
    lambda model: HyperTile.execute(model, 32, 2, 0, False)[0],
    lambda model: TomePatchModel.execute(model, 0.3).result[0],
])  # fmt: skip
def test_masks_are_refused_where_queries_are_not_the_pixels_of_the_map(models, neighbor):
    model = models("sd15")[0]
    with pytest.raises(ValueError, match=r"^MasaCtrl: another node splits or merges .*HyperTile.* source_mask"):
        sample(neighbor(masactrl(model, MASK)), rows(model, 1, 2), strangers())


@pytest.mark.parametrize("name", ["Prompt to Prompt, self-attention", "Plug and Play, attention"])
def test_queries_of_merged_pixels_are_refused(models, name):
    """Token merging (core's node) joins other pixels in each row, so that no row's queries stand for another's."""
    model = models("sd15")[0]
    merged = TomePatchModel.execute(EDITS[name](model), 0.3).result[0]
    with pytest.raises(ValueError, match=f"^{name.partition(',')[0]}: .* merges"):
        sample(merged, rows(model, 1, 2), strangers())
