"""Drop-in checklist: a wrong call raises torch's type of error with torch's text."""

import pytest
import torch
from helpers.twins import KINDS, error_of, leaf, twins

import bptt


def state(kind, *shapes, dtype=torch.float64, device=None):
    tensors = [torch.zeros(shape, dtype=dtype, device=device) for shape in shapes]
    return tuple(tensors) if kind == "LSTM" else tensors[0]


# What is wrong -> (input, hx) for a layer of 3 inputs, 5 units, 2 layers, 2 directions and B = 2.
BAD_CALLS = {
    "one dimension": lambda _: (leaf(3), None),
    "four dimensions": lambda _: (leaf(6, 2, 3, 1), None),
    "wrong width": lambda _: (leaf(6, 2, 4), None),
    "wrong width, unbatched": lambda _: (leaf(6, 4), None),
    "float32 input": lambda _: (leaf(6, 2, 3, dtype=torch.float32), None),
    "integer input": lambda _: (torch.zeros(6, 2, 3, dtype=torch.long), None),
    "input is a list": lambda _: ([1.0], None),
    "input is None": lambda _: (None, None),
    "no step": lambda _: (leaf(0, 2, 3), None),
    "no step, unbatched": lambda _: (leaf(0, 3), None),
    "no step and no sequence": lambda _: (leaf(0, 0, 3), None),
    "too few layers in h_0": lambda k: (leaf(6, 2, 3), state(k, (2, 2, 5), (4, 2, 5))),
    "wrong batch in h_0": lambda k: (leaf(6, 2, 3), state(k, (4, 3, 5), (4, 2, 5))),
    "wrong width of h_0": lambda k: (leaf(6, 2, 3), state(k, (4, 2, 4), (4, 2, 5))),
    "unbatched h_0 for a batch": lambda k: (leaf(6, 2, 3), state(k, (4, 5), (4, 5))),
    "batched h_0 for one sequence": lambda k: (leaf(6, 3), state(k, (4, 1, 5), (4, 1, 5))),
    "h_0 on another device": lambda k: (leaf(6, 2, 3), state(k, (4, 2, 5), (4, 2, 5), device="meta")),
    "input on another device": lambda _: (leaf(6, 2, 3).to("meta"), None),
}
BAD_LSTM_CALLS = {
    "wrong batch in c_0": lambda k: (leaf(6, 2, 3), state(k, (4, 2, 5), (4, 3, 5))),
    "c_0 of two dimensions": lambda k: (leaf(6, 2, 3), state(k, (4, 2, 5), (4, 5))),
    "three states": lambda k: (leaf(6, 2, 3), state(k, (4, 2, 5), (4, 2, 5), (4, 2, 5))),
    "one state": lambda k: (leaf(6, 2, 3), state(k, (4, 2, 5))),
    "a tensor as state": lambda _: (leaf(6, 2, 3), torch.zeros(4, 2, 5, dtype=torch.float64)),
}


def assert_same_error(kind, call, **options):
    ours, theirs = twins(kind, 3, 5, 2, bidirectional=True, **options)
    input, hx = call(kind)
    expected = error_of(lambda: theirs(input, hx))
    assert error_of(lambda: ours(input, hx)) == expected


@pytest.mark.parametrize("bad", BAD_CALLS)
@pytest.mark.parametrize("kind", KINDS)
def test_bad_calls(kind, bad):
    assert_same_error(kind, BAD_CALLS[bad])


@pytest.mark.parametrize("bad", BAD_LSTM_CALLS)
def test_bad_states_of_an_lstm(bad):
    assert_same_error("LSTM", BAD_LSTM_CALLS[bad])


@pytest.mark.parametrize("bad", ["too few layers in h_0", "wrong width of h_0"])
def test_bad_calls_of_a_projected_lstm(bad):
    assert_same_error("LSTM", BAD_CALLS[bad], proj_size=2)


def test_sizes_of_a_projected_lstm_in_the_text():
    assert_same_error("LSTM", lambda k: (leaf(6, 2, 3), state(k, (4, 2, 5), (4, 2, 5))), proj_size=2)


@pytest.mark.parametrize("kind", KINDS)
def test_batch_first_is_respected_in_the_text(kind):
    assert_same_error(kind, lambda k: (leaf(2, 6, 3), state(k, (4, 6, 5), (4, 6, 5))), batch_first=True)
    assert_same_error(kind, lambda _: (leaf(2, 0, 3), None), batch_first=True)


@pytest.mark.parametrize("kind", ["GRU", "RNN"])
def test_a_tuple_as_state_of_a_layer_with_one(kind):
    assert_same_error(kind, lambda _: (leaf(6, 2, 3), (torch.zeros(4, 2, 5, dtype=torch.float64),) * 2))


@pytest.mark.parametrize("kind", ["GRU", "RNN"])
@pytest.mark.parametrize(
    "call",
    [
        lambda _: (packed(width=4), None),
        lambda _: (packed(dtype=torch.float32), None),
        lambda k: (packed(), state(k, (4, 3, 5))),
        lambda k: (packed(), state(k, (2, 5))),
    ],
    ids=["width", "dtype", "batch of h_0", "dimensions of h_0"],
)
def test_bad_packed_calls(kind, call):
    assert_same_error(kind, call)


def test_listed_texts():
    """The words of the checklist, so that they cannot change on both sides at once."""
    lstm, _ = twins("LSTM", 3, 5, dtype=torch.float32)
    x, wrong = torch.zeros(6, 4, 3), torch.zeros(2, 4, 5)
    listed = {
        "LSTM: Expected input to be 2D or 3D, got 4D instead": (x.unsqueeze(-1), None),
        "Expected sequence length to be larger than 0 in RNN": (x[:0], None),
        "Expected hidden[0] size (1, 4, 5), got [2, 4, 5]": (x, (wrong, wrong)),
    }
    for text, arguments in listed.items():
        assert error_of(lambda arguments=arguments: lstm(*arguments))[1] == text
    _, text = error_of(lambda: lstm(x.double()))
    assert text.startswith("RNN input dtype (torch.float64) does not match weight dtype (torch.float32).")


def packed(width=3, dtype=torch.float64):
    return torch.nn.utils.rnn.pack_sequence([leaf(3, width, dtype=dtype), leaf(2, width, dtype=dtype)])


def test_return_cells_must_be_a_bool():
    with pytest.raises(TypeError, match="return_cells must be a bool, got str"):
        bptt.nn.LSTM(2, 3)(torch.zeros(4, 1, 2), return_cells="no")
