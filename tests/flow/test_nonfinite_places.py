"""The first value that is not finite: whose it is, however batches lie and whatever dtype they have."""

import pytest
import torch
from helpers.nonfinite import B, H, I, T, data, model, place, squares, steep
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import bptt
from bptt import flow
from bptt.tasks import Batch

NAN = float("nan")
LENGTHS = torch.tensor([2, 6, 4, 5])
LIBRARIES = pytest.mark.parametrize("library", [bptt.nn, torch.nn], ids=["bptt", "torch"])


def test_the_batch_comes_first_part_by_part():
    of, x, y = model(), data(T, B, I), data(T, B, 2)
    x[4, 1, 2], x[3, 2, 0], y[1, 1, 1] = NAN, -torch.inf, torch.inf
    found = flow.first_nonfinite(of, Batch(x, y), squares)
    assert place(found) == ("forward", "batch", "x", 3, 2)
    assert (found.value, found.index) == (-torch.inf, (3, 2, 0))
    assert found.sentence == (
        "the first value that is not finite is part 'x' of the batch at step 3 of sequence 2 in the forward "
        "pass: -inf"
    )
    found = flow.first_nonfinite(of, (data(T, B, I), y), squares)
    assert place(found) == ("forward", "batch", "1", 1, 1)
    found = flow.first_nonfinite(
        of, {"x": data(T, B, I), "weight": x[3, :, 0]}, squares, call=lambda m, b: m(b["x"])
    )
    assert place(found) == ("forward", "batch", "weight", None, 2)


@LIBRARIES
def test_steps_and_sequences_are_those_of_the_input_however_it_lies(library):
    first = library.GRU(I, H, batch_first=True)
    x = data(T, B, I)
    x[3, 2, 0] = x[3, 3, 0] = x[5, 0, 0] = NAN
    found = flow.first_nonfinite(first, x.transpose(0, 1), squares)
    assert (place(found), found.index) == (("forward", "batch", "", 3, 2), (2, 3, 0))
    alone = flow.first_nonfinite(library.GRU(I, H), x[:, 2], squares)
    assert place(alone) == ("forward", "batch", "", 3, 0)
    packed = pack_padded_sequence(x, LENGTHS, enforce_sorted=False)
    found = flow.first_nonfinite(library.GRU(I, H), packed, squares, call=unpacked)
    assert place(found) == ("forward", "batch", "", 3, 3)  # the first in the order of packing


@LIBRARIES
def test_a_packed_output_s_gradient_is_the_caller_s_sequence_s(library):
    of, x = library.GRU(I, H), data(T, B, I)
    weight = torch.ones(T, B, 1)
    weight[4, 3] = 0.0
    found = flow.first_nonfinite(
        of,
        pack_padded_sequence(x, LENGTHS, enforce_sorted=False),
        lambda y, _: (weight * y.square()).clamp_min(1e-9 * weight).sqrt().sum(),
        call=unpacked,
    )
    assert place(found) == ("backward", "output", "", 4, 3)
    torch.testing.assert_close(found.before["output"], of(x)[0][4, 3].detach())


def test_within_a_packed_or_padded_batch_the_sequence_is_the_caller_s():
    of, x = bptt.nn.RNN(I, H), data(T, B, I)
    of.weight_ih_l0.data.fill_(1e38)
    x = x.clamp(-0.3, 0.3)
    x[3, 3] = 3.0
    packed = pack_padded_sequence(x, LENGTHS, enforce_sorted=False)
    x[5:, 3] = x[2:, 0] = NAN
    for batch in (packed, Batch(x, data(T, B, 2), LENGTHS)):
        given = flow.first_nonfinite(of, batch, lambda y, _: y.sum(), call=output)
        assert place(given) == ("forward", "input projection", "", 3, 3)
        assert torch.equal(given.before["x"], torch.full((I,), 3.0))


def unpacked(of, packed):
    return pad_packed_sequence(of(packed)[0])[0]


def output(of, batch):
    return (
        of(batch)[0].data
        if isinstance(batch, nn.utils.rnn.PackedSequence)
        else of(batch.x, lengths=batch.lengths)[0]
    )


def test_padding_is_no_part_of_it():
    of, valid = model("GRU", bidirectional=True), (torch.arange(T)[:, None] < LENGTHS).unsqueeze(-1)
    x = torch.where(valid, data(T, B, I), NAN)
    assert flow.first_nonfinite(of, Batch(x, x[..., :2].nan_to_num(), LENGTHS), squares) is None
    x[1, 0, 0] = NAN
    assert flow.first_nonfinite(of, Batch(x, x, LENGTHS), squares).step == 1


def test_a_gradient_in_the_padding_counts_if_it_reaches_anything():
    x, valid = data(T, B, I), (torch.arange(T)[:, None] < LENGTHS).unsqueeze(-1)

    def root(y, _):
        return (valid * (y.square() * valid).sqrt()).sum()  # in the padding: 0 · ∞

    batch = Batch(x, x, LENGTHS)
    assert flow.first_nonfinite(bptt.nn.GRU(I, H), batch, root) is None
    found = flow.first_nonfinite(model("GRU"), batch, root)
    assert place(found) == ("backward", "output", "", 2, 0)


@LIBRARIES
def test_a_parameter_is_named(library):
    of = model("GRU", library)
    of.core.weight_hh_l1.data[3, 2] = -torch.inf
    found = flow.first_nonfinite(of, data(T, 3 * H, I), squares)  # shapes say nothing of a parameter
    assert place(found) == ("forward", "parameter", "core.weight_hh_l1", None, None)
    assert found.sentence.endswith(
        "is parameter 'core.weight_hh_l1' at index (3, 2) in the forward pass: -inf"
    )


def test_a_weight_that_only_autocast_makes_infinite_is_found():
    of, x = model("GRU"), data(T, B, I)
    of.core.weight_hh_l1.data[3, 2] = 1e5  # float16 ends at 65504
    half = torch.float16

    def call(m, x, dtype=half):
        with torch.autocast("cpu", dtype):
            return m(x)

    found = flow.first_nonfinite(of, x, squares, call=call)
    assert (found.what, found.name, found.layer, found.index) == ("w_hh", "core", 1, (3, 2))
    assert (
        flow.first_nonfinite(
            of, x, lambda y, _: y.float().mean(), call=lambda m, x: call(m, x, torch.bfloat16)
        )
        is None
    )


def test_a_layer_that_autocast_leaves_alone_is_looked_at_in_its_own_dtype():
    class Exact(nn.Module):
        def __init__(self):
            super().__init__()
            self.core = bptt.nn.LSTM(I, H)

        def forward(self, x):
            with torch.autocast("cpu", enabled=False):
                return self.core(x)[0]

    of, x = Exact(), 1e5 * data(T, B, I)
    for kind in (bptt.nn.LSTM, bptt.nn.GRU, bptt.nn.RNN):
        of.core = kind(I, H)
        with torch.autocast("cpu", torch.float16):
            assert flow.first_nonfinite(of, x, lambda y, _: steep(y, 1e10)) is None


@pytest.mark.parametrize("cast", ["autocast", "weights"])
def test_in_16_bits_a_gate_overflows_at_its_step(cast):
    of = bptt.nn.RNN(I, H, nonlinearity="relu", bias=False)
    with torch.no_grad():
        of.weight_ih_l0.fill_(1.0)
        of.weight_hh_l0.copy_(16 * torch.eye(H))
    x = torch.zeros(40, B, I)
    x[0, 1] = 1.0
    if cast == "weights":
        of, x = of.bfloat16(), x.bfloat16()
    with torch.autocast("cpu", torch.bfloat16, enabled=cast == "autocast"):
        found = flow.first_nonfinite(of, x, lambda y, _: y.float().mean())
    assert (found.gate, found.step, found.sequence) == ("h", 32, 1)  # 3 · 16**32 > 3.4e38
    assert found.before["h"].dtype == torch.bfloat16
    assert found.largest["h"] == 3.0 * 16.0**31


def test_stacks_and_directions_are_told_apart():
    for at, suffix in enumerate(("l0", "l0_reverse", "l1", "l1_reverse")):
        of = model("LSTM", bidirectional=True)
        for weight in ("bias_ih", "bias_hh"):
            getattr(of.core, f"{weight}_{suffix}").data.fill_(2e38)
        found = flow.first_nonfinite(of, data(T, B, I), squares)
        assert (found.layer, found.direction) == divmod(at, 2)
        assert place(found) == ("forward", "pre-activation", "core", T - 1 if at % 2 else 0, 0)
        words = "layer {}{} of 'core'".format(at // 2, " in reverse" * (at % 2))
        assert f"the pre-activation of the input gate i of {words} at step" in found.sentence


def test_states_that_are_given_count():
    of, x = bptt.nn.LSTM(I, H), data(T, B, I)
    c = torch.zeros(1, B, H)
    c[0, 3, 1] = torch.inf
    found = flow.first_nonfinite(of, x, squares, call=lambda m, x: m(x, (torch.zeros(1, B, H), c))[0])
    assert place(found) == ("forward", "initial cell c", "", 0, 3)
    projected = bptt.nn.LSTM(I, H, proj_size=2)
    projected.weight_hr_l0.data.fill_(3e38)
    projected.weight_hh_l0.data.zero_()
    projected.bias_ih_l0.data.fill_(10.0)
    found = flow.first_nonfinite(projected, x, squares)
    assert place(found)[1] == "state h"
    assert found.largest["c_next"] == pytest.approx(1, abs=0.01)
