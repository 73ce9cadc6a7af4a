"""host/attention_maps: which states are read, and what is summed."""

import torch
from random_models import random_conditioning
from retrace_pack.host.attention_maps import read_word_maps, trajectory_levels

TOKENS, LAYERS = 77, {(8, 8): 3, (4, 4): 4}
"""Of a prompt; and by the size of their maps of the layers that have attention."""


def test_levels_lie_evenly_between_two_positions_counted_from_the_image(trajectory):
    """The image itself, at level 0, is never one: the network is not evaluated there."""
    assert trajectory_levels(trajectory, 0.2, 0.6, 3) == trajectory_levels(trajectory, 0.6, 0.2, 3) == [1, 2, 3]
    assert trajectory_levels(trajectory, 0.0, 1.0, 3) == [1, 2, 5]
    assert trajectory_levels(trajectory, 0.0, 1.0, 100) == [1, 2, 3, 4, 5]


def test_maps_are_summed_over_tokens_layers_and_levels(models, trajectory):
    model = models("sd15")[0]
    positive = random_conditioning(model)

    def read(tokens, levels):
        return {tuple(each.shape[1:]): each for each in read_word_maps(model, trajectory, positive, tokens, levels)}

    every_token = read(range(TOKENS), [2, 4])
    assert every_token.keys() == LAYERS.keys()
    for size, layers in LAYERS.items():
        torch.testing.assert_close(every_token[size], torch.full((1, *size), 2.0 * layers))
    both, first, second = read([3, 4], [2, 4]), read([3, 4], [2]), read([3, 4], [4])
    for size in LAYERS:
        torch.testing.assert_close(both[size], first[size] + second[size])
        assert float((first[size] - second[size]).abs().max()) > 1e-4
