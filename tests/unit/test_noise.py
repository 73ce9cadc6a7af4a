"""Seeds: one for the batch, the same for every row, or a list."""

import pytest
import torch
from retrace_pack.samplers.noise import choose_seeds, noise_source

SHAPE = (3, 4, 8, 8)


def test_one_seed_draws_one_image_as_comfyui_does():
    alone, generator = (1, *SHAPE[1:]), torch.manual_seed(7)
    noise = noise_source(alone, (7,))
    assert all(torch.equal(noise(), torch.randn(alone, generator=generator)) for _ in range(3))


def test_one_seed_gives_each_row_of_a_batch_the_next_seed():
    noise, alone = noise_source(SHAPE, (2**64 - 1,)), (1, *SHAPE[1:])
    rows = [noise_source(alone, (seed,)) for seed in (2**64 - 1, 0, 1)]
    for _ in range(3):
        assert torch.equal(noise(), torch.cat([row() for row in rows]))


def test_the_same_seed_for_every_row_gives_equal_rows():
    noise = noise_source(SHAPE, choose_seeds(7, "", 3, same_for_every_row=True))()
    assert torch.equal(noise[0], noise[1]) and torch.equal(noise[0], noise[2])


def test_a_list_makes_a_row_independent_of_its_neighbors():
    first = noise_source(SHAPE, choose_seeds(0, "5, 6,7", 3, False))()
    alone = noise_source((1, *SHAPE[1:]), (6,))()
    assert torch.equal(first[1], alone[0])
    assert not torch.equal(first[0], first[1])


@pytest.mark.parametrize("seeds", [(1,), (1, 2, 3)])
def test_successive_draws_differ_and_a_new_source_repeats_them(seeds):
    source, again = noise_source(SHAPE, seeds), noise_source(SHAPE, seeds)
    draws = [source(), source()]
    assert not torch.equal(*draws)
    assert all(torch.equal(draw, again()) for draw in draws)


def test_a_wrong_number_of_seeds_is_refused():
    with pytest.raises(ValueError, match="2 seeds were given for a batch of 3"):
        noise_source(SHAPE, (1, 2))


@pytest.mark.parametrize("text", ["1,2", "1,2,x", "1,2,-3", "1;2;3"])
def test_row_seeds_that_do_not_fit_are_refused(text):
    with pytest.raises(ValueError, match="row_seeds .* is not a list of 3 whole numbers"):
        choose_seeds(0, text, 3, False)
