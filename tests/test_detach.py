import dataclasses
import re

import pytest
import torch

from bptt import Detach, Keeps

SHAPE = (50, 8)


def test_repr_round_trips_and_instances_are_values():
    detach = Detach(h=0.25, c=1, draw="sequence", shared=True)
    assert repr(detach) == "Detach(h=0.25, c=1.0, draw='sequence', shared=True)"
    assert eval(repr(detach)) == detach
    assert hash(detach) == hash(dataclasses.replace(detach))
    with pytest.raises(dataclasses.FrozenInstanceError):
        detach.h = 0.5


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"h": -0.1}, ValueError, "Detach: h must be a probability in [0, 1], got -0.1"),
        ({"c": 25}, ValueError, "Detach: c must be a probability in [0, 1], got 25"),
        ({"h": float("nan")}, ValueError, "Detach: h must be a probability in [0, 1], got nan"),
        ({"h": "0.5"}, TypeError, "Detach: h must be a probability, got '0.5' of type str"),
        ({"h": True}, TypeError, "Detach: h must be a probability, got True of type bool"),
        (
            {"draw": "batch"},
            ValueError,
            "Detach: draw must be one of 'step', 'sequence', 'mean', got 'batch'",
        ),
        ({"shared": 1}, TypeError, "Detach: shared must be a bool, got int"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=re.escape(message)):
        Detach(**arguments)


def test_shape_must_be_steps_and_sequences():
    for shape in [(5,), (5, -1), (5, 2.0), 5, (True, True)]:
        with pytest.raises(
            ValueError, match=re.escape(f"shape must be (T, B), two non-negative ints, got {shape}")
        ):
            Detach(h=0.5).sample(shape)


@pytest.mark.parametrize(("draw", "size"), [("step", (50,)), ("sequence", (50, 8)), ("mean", (50,))])
def test_shapes_and_values(draw, size):
    keeps = Detach(h=0.25, c=0.5, draw=draw).sample(SHAPE, dtype=torch.float64)
    assert isinstance(keeps, Keeps)
    for keep, p in zip(keeps, (0.25, 0.5), strict=True):
        assert keep.shape == size
        assert keep.dtype == torch.float64
        allowed = {1 - p} if draw == "mean" else {0.0, 1.0}
        assert set(keep.unique().tolist()) == allowed


@pytest.mark.parametrize("p", [0.1, 0.25, 0.5, 0.9])
def test_p_is_the_probability_of_blocking(p):
    keep = Detach(h=p).sample((40_000, 1), generator=torch.Generator().manual_seed(0)).h
    sigma = (p * (1 - p) / 40_000) ** 0.5
    assert abs((keep == 0).double().mean().item() - p) < 4 * sigma


def test_certainties():
    assert Detach(h=1).sample(SHAPE).h.count_nonzero() == 0
    assert torch.equal(Detach(h=1).sample(SHAPE).c, torch.ones(50))
    assert not Detach().active
    assert Detach(c=0.1).active


def test_the_two_paths_have_their_own_coins():
    keeps = Detach(h=0.5, c=0.5).sample((200, 1))
    assert not torch.equal(keeps.h, keeps.c)


def test_nothing_is_drawn_where_nothing_is_random():
    before = torch.get_rng_state()
    Detach(h=0.0).sample(SHAPE)
    Detach(h=0.5, draw="mean").sample(SHAPE)
    Detach(h=0.5).sample(SHAPE, generator=torch.Generator().manual_seed(1))
    assert torch.equal(torch.get_rng_state(), before)
    Detach(h=0.5).sample(SHAPE)
    assert not torch.equal(torch.get_rng_state(), before)


def test_coins_are_tossed_where_the_generator_is():
    coins = Detach(h=0.5).sample(SHAPE, generator=torch.Generator().manual_seed(3), device="meta")
    assert coins.h.device.type == coins.c.device.type == "meta"


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_default_dtype_changes_no_coin(dtype):
    expected = Detach(h=0.01).sample((5000, 1), generator=torch.Generator().manual_seed(3)).h
    torch.set_default_dtype(dtype)
    try:
        coins = Detach(h=0.01).sample((5000, 1), generator=torch.Generator().manual_seed(3)).h
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(coins, expected)


def test_keeps_are_floating():
    with pytest.raises(TypeError, match=r"dtype must be a floating dtype, got torch\.int64"):
        Detach(h=0.5, draw="mean").sample(SHAPE, dtype=torch.long)


def test_the_generator_decides():
    draws = [Detach(h=0.5).sample(SHAPE, generator=torch.Generator().manual_seed(s)).h for s in (3, 3, 4)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
