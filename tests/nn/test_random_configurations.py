"""Any configuration on any layout of input: ours and torch's agree on everything that comes back."""

import torch
from helpers.twins import (
    TOLERANCE,
    assert_same,
    assert_twins_agree,
    error_of,
    gradients,
    initial_state,
    leaf,
    tensors,
    twins,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

sizes = st.integers(1, 4)


@st.composite
def configurations(draw):
    """(kind, positional arguments, keyword arguments) of a layer."""
    kind = draw(st.sampled_from(["LSTM", "GRU", "RNN"]))
    hidden = draw(sizes)
    options = {
        "num_layers": draw(st.integers(1, 3)),
        "bidirectional": draw(st.booleans()),
        "bias": draw(st.booleans()),
        "batch_first": draw(st.booleans()),
        "dropout": 0.0,
        "dtype": draw(st.sampled_from([torch.float64, torch.float32])),
        "seed": draw(st.integers(0, 99)),
    }
    if kind == "LSTM" and hidden > 1:
        options["proj_size"] = draw(st.integers(0, hidden - 1))
    if kind == "RNN":
        options["nonlinearity"] = draw(st.sampled_from(["tanh", "relu"]))
    return kind, (draw(sizes), hidden), options


@st.composite
def lengths_of(draw, T, B):
    return torch.tensor(draw(st.lists(st.integers(1, T), min_size=B, max_size=B)))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.data(), configurations(), sizes, sizes)
def test_outputs_states_and_gradients(data, configuration, T, B):
    kind, positional, options = configuration
    ours, theirs = twins(kind, *positional, **options)
    width, dtype, tolerance = positional[0], options["dtype"], TOLERANCE[options["dtype"]]
    layout = data.draw(st.sampled_from(["padded", "unbatched", "packed", "lengths"]))
    batched = (B, T) if options["batch_first"] else (T, B)
    x = leaf(*((T,) if layout == "unbatched" else batched), width, dtype=dtype)
    hx = None
    if data.draw(st.booleans(), label="hx given"):
        hx = initial_state(ours, None if layout == "unbatched" else B, dtype)
    leaves = (x,) if hx is None else (x, *(hx if isinstance(hx, tuple) else (hx,)))
    if layout in ("padded", "unbatched"):
        assert_twins_agree(ours, theirs, x, hx, leaves, tolerance=tolerance)
        return
    lengths = data.draw(lengths_of(T, B), label="lengths")
    enforce_sorted = data.draw(st.booleans(), label="enforce_sorted")
    if enforce_sorted:
        lengths = lengths.sort(descending=True).values
    packed = pack_padded_sequence(x, lengths, options["batch_first"], enforce_sorted)
    if layout == "packed":
        assert_twins_agree(ours, theirs, packed, hx, leaves, tolerance=tolerance)
        return
    y, state = theirs(packed, hx)
    y, _ = pad_packed_sequence(y, options["batch_first"], total_length=T)
    mine, reference = ours(x, hx, lengths=lengths), (y, state)
    assert_same(tensors(mine), tensors(reference), tolerance)
    assert_same(gradients(mine, ours, leaves), gradients(reference, theirs, leaves), tolerance)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(configurations())
def test_state_dict_both_ways(configuration):
    kind, positional, options = configuration
    ours, theirs = twins(kind, *positional, **options)
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert_same(ours.state_dict(), theirs.state_dict(), tolerance=0)
    other, fresh = twins(kind, *positional, **(options | {"seed": options["seed"] + 1}))
    fresh.load_state_dict(ours.state_dict())
    other.load_state_dict(theirs.state_dict())
    assert_same(other.state_dict(), fresh.state_dict(), tolerance=0)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.data(), configurations(), sizes, sizes)
def test_error_types_and_texts(data, configuration, T, B):
    kind, positional, options = configuration
    ours, theirs = twins(kind, *positional, **options)
    width, dtype = positional[0], options["dtype"]
    batched = (B, T) if options["batch_first"] else (T, B)
    unbatched = data.draw(st.booleans(), label="unbatched")
    shape = [*((T,) if unbatched else batched), width]
    hx = initial_state(ours, None if unbatched else B, dtype)
    states = list(hx) if isinstance(hx, tuple) else [hx]
    wrong = data.draw(st.sampled_from(["width", "dimensions", "dtype", "steps", "state", "state dimensions"]))
    index = data.draw(st.integers(0, len(states) - 1))
    if wrong == "width":
        shape[-1] += 1
    elif wrong == "dimensions":
        shape = [*shape, 1, 1]
    elif wrong == "dtype":
        dtype = torch.float16
    elif wrong == "steps":
        shape[1 if options["batch_first"] and not unbatched else 0] = 0
    elif wrong == "state":
        larger = list(states[index].shape)
        larger[data.draw(st.integers(0, len(larger) - 1))] += 1
        states[index] = torch.zeros(larger, dtype=dtype)
    else:
        states[index] = states[index].unsqueeze(0)
    x = torch.zeros(shape, dtype=dtype)
    hx = tuple(states) if kind == "LSTM" else states[0]
    expected = error_of(lambda: theirs(x, hx))
    assert error_of(lambda: ours(x, hx)) == expected
