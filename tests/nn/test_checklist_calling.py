"""Drop-in checklist: what goes in and comes out of a call. Every test runs against torch.nn itself."""

import pytest
import torch
from helpers.twins import (
    KINDS,
    assert_same,
    assert_twins_agree,
    error_of,
    gradients,
    initial_state,
    leaf,
    tensors,
    twins,
)
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pack_sequence, pad_packed_sequence

import bptt

VARIANTS = {
    "LSTM": ("LSTM", {}),
    "LSTM projected": ("LSTM", {"proj_size": 2}),
    "GRU": ("GRU", {}),
    "RNN tanh": ("RNN", {}),
    "RNN relu": ("RNN", {"nonlinearity": "relu"}),
}


@pytest.fixture(params=VARIANTS)
def pair(request):
    kind, options = VARIANTS[request.param]
    return twins(kind, 3, 5, 2, bidirectional=True, **options)


@pytest.fixture(params=VARIANTS)
def batch_first_pair(request):
    kind, options = VARIANTS[request.param]
    return twins(kind, 3, 5, 2, bidirectional=True, batch_first=True, **options)


def leaves_of(x, hx):
    return (x, *(hx if isinstance(hx, tuple) else (hx,)))


def test_time_major_input(pair):
    x, hx = leaf(6, 4, 3), initial_state(pair[0], 4)
    assert_twins_agree(*pair, x, hx, leaves_of(x, hx))


def test_default_state_is_zeros_of_the_inputs_dtype(pair):
    x = leaf(6, 4, 3)
    assert_twins_agree(*pair, x, None, (x,))


def test_batch_first_input(batch_first_pair):
    x, hx = leaf(4, 6, 3), initial_state(batch_first_pair[0], 4)
    assert_twins_agree(*batch_first_pair, x, hx, leaves_of(x, hx))


def test_unbatched_input_with_two_dimensional_state(pair):
    x, hx = leaf(6, 3), initial_state(pair[0], None)
    assert_twins_agree(*pair, x, hx, leaves_of(x, hx))
    assert_twins_agree(*pair, x, None, (x,))


def test_unbatched_input_ignores_batch_first(batch_first_pair):
    x, hx = leaf(6, 3), initial_state(batch_first_pair[0], None)
    assert_twins_agree(*batch_first_pair, x, hx, leaves_of(x, hx))


@pytest.mark.parametrize("enforce_sorted", [True, False])
def test_packed_input_gives_packed_output(pair, enforce_sorted):
    x, hx = leaf(6, 4, 3), initial_state(pair[0], 4)
    lengths = torch.tensor([6, 4, 4, 1] if enforce_sorted else [4, 1, 6, 4])
    packed = pack_padded_sequence(x, lengths, enforce_sorted=enforce_sorted)
    assert_twins_agree(*pair, packed, hx, leaves_of(x, hx))
    assert_twins_agree(*pair, packed, None, (x,))
    y, _ = pair[0](packed)
    assert y.sorted_indices is packed.sorted_indices
    assert y.unsorted_indices is packed.unsorted_indices


def test_packed_input_to_a_batch_first_layer(batch_first_pair):
    x, hx = leaf(4, 6, 3), initial_state(batch_first_pair[0], 4)
    packed = pack_padded_sequence(x, torch.tensor([4, 1, 6, 4]), batch_first=True, enforce_sorted=False)
    assert_twins_agree(*batch_first_pair, packed, hx, leaves_of(x, hx))


def test_packed_states_are_in_the_users_order(pair):
    ours, _ = pair
    sequences = [leaf(n, 3, seed=n) for n in (2, 5, 3)]
    _, state = ours(pack_sequence(sequences, enforce_sorted=False))
    for column, sequence in enumerate(sequences):
        _, alone = ours(sequence)
        for mine, expected in zip(
            state if isinstance(state, tuple) else (state,),
            alone if isinstance(alone, tuple) else (alone,),
            strict=True,
        ):
            torch.testing.assert_close(mine[:, column], expected, rtol=0, atol=1e-12)


def test_packed_sequence_with_a_step_that_fewer_sequences_have(pair):
    """A PackedSequence built by hand, without sorted_indices."""
    data = leaf(6, 3)
    assert_twins_agree(*pair, PackedSequence(data, torch.tensor([3, 2, 1])), None, (data,))


def test_state_as_a_list():
    ours, theirs = twins("LSTM", 3, 5)
    x, hx = leaf(6, 4, 3), initial_state(ours, 4)
    assert_same(tensors(ours(x, list(hx))), tensors(theirs(x, list(hx))))
    assert isinstance(ours(x, list(hx))[1], tuple)


def test_empty_batch(pair):
    ours, theirs = pair
    x = torch.zeros(6, 0, 3, dtype=torch.float64)
    assert_same(tensors(ours(x)), tensors(theirs(x)))


def test_empty_batch_first(batch_first_pair):
    ours, theirs = batch_first_pair
    x = torch.zeros(0, 6, 3, dtype=torch.float64)
    assert_same(tensors(ours(x)), tensors(theirs(x)))


def test_shapes_of_the_states(pair):
    ours, _ = pair
    named = tensors(ours(leaf(6, 4, 3)))
    assert named["h_n"].shape == (2 * 2, 4, ours.proj_size or 5)
    assert named.get("c_n", torch.empty(4, 4, 5)).shape == (2 * 2, 4, 5)


def test_full_backward_hooks_see_the_input_and_the_output(pair):
    x = leaf(6, 4, 3)
    seen = []
    for layer in pair:
        calls = []
        layer.register_full_backward_hook(lambda _m, gi, go, calls=calls: calls.append((gi, go)))
        layer(x)[0].square().sum().backward()
        (call,) = calls
        seen.append(call)
    (mine_in, mine_out), (their_in, their_out) = seen
    torch.testing.assert_close(mine_in[0], their_in[0], rtol=0, atol=1e-12)
    torch.testing.assert_close(mine_out[0], their_out[0], rtol=0, atol=1e-12)
    assert [g is None for g in mine_out] == [g is None for g in their_out]


def padded_call(layer, x, hx, lengths):
    """What `lengths=` must give, by torch's way of packing, running and padding again."""
    packed = pack_padded_sequence(x, lengths, batch_first=layer.batch_first, enforce_sorted=False)
    y, state = layer(packed, hx)
    T = x.shape[1 if layer.batch_first else 0]
    return pad_packed_sequence(y, batch_first=layer.batch_first, total_length=T)[0], state


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_lengths_equal_packing(kind, batch_first):
    ours, theirs = twins(kind, 3, 5, 2, bidirectional=True, batch_first=batch_first)
    x, hx = leaf(*((4, 7, 3) if batch_first else (7, 4, 3))), initial_state(ours, 4)
    lengths = torch.tensor([4, 1, 6, 4])  # T = 7 is longer than the longest
    mine, reference = ours(x, hx, lengths=lengths), padded_call(theirs, x, hx, lengths)
    assert_same(tensors(mine), tensors(reference))
    leaves = leaves_of(x, hx)
    assert_same(gradients(mine, ours, leaves), gradients(reference, theirs, leaves))


@pytest.mark.parametrize("kind", KINDS)
def test_nan_beyond_the_lengths_reaches_nothing(kind):
    ours, _ = twins(kind, 3, 5, 2, bidirectional=True)
    lengths = torch.tensor([4, 1, 6])
    x = leaf(6, 3, 3)
    inside = torch.arange(6)[:, None, None] < lengths[:, None]
    poisoned = torch.where(inside, x.detach(), torch.nan).requires_grad_()
    clean, dirty = ours(x, lengths=lengths), ours(poisoned, lengths=lengths)
    assert_same(tensors(dirty), tensors(clean))
    assert_same(gradients(dirty, ours, (poisoned,)), gradients(clean, ours, (x,)))


def test_lengths_of_a_single_sequence():
    ours, _ = twins("LSTM", 3, 5, bidirectional=True)
    x = leaf(6, 3)
    y, state = ours(x, lengths=torch.tensor([4]))
    expected, expected_state = ours(x[:4])
    assert_same(tensors((y[:4], state)), tensors((expected, expected_state)))
    assert (y[4:] == 0).all()


def test_lengths_beside_packed_input_are_refused():
    ours, _ = twins("GRU", 3, 5)
    packed = pack_sequence([leaf(3, 3), leaf(2, 3)])
    with pytest.raises(ValueError, match="lengths must be None beside a PackedSequence"):
        ours(packed, lengths=torch.tensor([3, 2]))


@pytest.mark.parametrize("lengths", [[0, 1], [7, 1], [[6, 1]], [6]], ids=str)
def test_bad_lengths_are_refused(lengths):
    ours, _ = twins("LSTM", 3, 5)
    with pytest.raises(ValueError, match="lengths must"):
        ours(leaf(6, 2, 3), lengths=torch.tensor(lengths))


@pytest.mark.parametrize("layout", ["padded", "batch_first", "packed", "unbatched"])
def test_all_cells_of_the_last_layer(layout):
    """Against the states of ever longer prefixes, run by torch."""
    ours, theirs = twins("LSTM", 3, 5, 2, proj_size=2, batch_first=layout == "batch_first")
    shape = {"batch_first": (4, 6, 3), "unbatched": (6, 3)}.get(layout, (6, 4, 3))
    x = leaf(*shape)
    if layout == "packed":
        lengths = torch.tensor([4, 1, 6, 4])
        packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
        y, _, cells = ours(packed, return_cells=True)
        assert torch.equal(cells.batch_sizes, y.batch_sizes)
        assert cells.unsorted_indices is packed.unsorted_indices
        padded, _ = pad_packed_sequence(cells)
        expected = ours(x, lengths=lengths, return_cells=True)[2]
        torch.testing.assert_close(padded, expected, rtol=0, atol=1e-12)
        return
    cells = ours(x, return_cells=True)[2]
    time = 1 if layout == "batch_first" else 0
    for t in range(6):
        _, (_, c_n) = theirs(x.narrow(time, 0, t + 1))
        torch.testing.assert_close(cells.select(time, t), c_n[-1], rtol=0, atol=1e-12)


def test_cells_of_both_directions_stand_side_by_side():
    ours, _ = twins("LSTM", 3, 5, bidirectional=True, proj_size=2)
    _, (_, c_n), cells = ours(leaf(6, 4, 3), return_cells=True)
    assert cells.shape == (6, 4, 2 * 5)
    assert torch.equal(cells[-1, :, :5], c_n[0])
    assert torch.equal(cells[0, :, 5:], c_n[1])
    assert error_of(lambda: twins("GRU", 3, 5)[0](leaf(6, 4, 3), return_cells=True))[0] is TypeError


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_returned_states_may_be_changed_in_place(kind):
    layer = getattr(bptt.nn, kind)(3, 4)
    y, state = layer(torch.randn(5, 2, 3))
    for each in state if kind == "LSTM" else (state,):
        each[:, 0] = 0
    y.sum().backward()
    assert layer.weight_hh_l0.grad.abs().sum() > 0
