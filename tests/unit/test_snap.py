"""inversion/snap: rows that differ from the trajectory only by rounding, and rows that differ because of another prompt."""

import torch
from retrace_pack.inversion.snap import snap_to_trajectory


def test_rows_at_the_state_but_for_rounding_are_put_there_and_others_left():
    state = torch.randn(1, 4, 8, 8)
    x = state + torch.randn(3, 4, 8, 8) * torch.tensor([1e-6, 1e-4, 1e-2]).view(3, 1, 1, 1)
    joined = snap_to_trajectory(x, state)
    assert torch.equal(joined[:2], state.expand(2, -1, -1, -1))
    assert torch.equal(joined[2:], x[2:])


def test_each_row_has_a_state_of_its_own_scale():
    state = torch.randn(2, 4, 8, 8) * torch.tensor([1.0, 1e-3]).view(2, 1, 1, 1)
    x = state + 1e-4
    joined = snap_to_trajectory(x, state)
    assert torch.equal(joined[0], state[0]) and torch.equal(joined[1], x[1])
