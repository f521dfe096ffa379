import pytest
import torch

from bptt.streams import stream


def draw(*key):
    return torch.rand(20, generator=stream(*key))


def test_a_stream_is_a_function_of_its_key():
    assert torch.equal(draw(0, "data", 3), draw(0, "data", 3))
    keys = [(0, "data", 3), (1, "data", 3), (0, "detach", 3), (0, "data", 4), (-1, "data", 3)]
    draws = torch.stack([draw(*key) for key in keys])
    assert len(draws.unique(dim=0)) == len(keys)


def test_these_numbers_never_change():
    numbers = torch.randint(1000, (4,), generator=stream(3, "detach", 7)).tolist()
    assert numbers == [521, 238, 203, 722]


def test_no_two_steps_of_a_stream_share_a_seed():
    seeds = {stream(0, "detach", step).initial_seed() for step in range(20_000)}
    assert len(seeds) == 20_000


def test_two_streams_that_meet_part_again():
    # With one stride for all, streams on the same cycle of seeds would repeat each other from there on.
    strides = {
        (stream(seed, name, 1).initial_seed() - stream(seed, name, 0).initial_seed()) % 2**32
        for seed in range(50)
        for name in ("data", "detach", "dropout")
    }
    assert len(strides) == 150
    assert all(stride % 2 for stride in strides)


def test_first_numbers_over_steps_are_uniform_and_uncorrelated():
    first = torch.stack([torch.rand(2, generator=stream(5, "detach", step)) for step in range(4000)]).double()
    assert abs(first.mean().item() - 0.5) < 4 * (1 / 12 / 8000) ** 0.5
    series = first[:, 0]
    lagged = torch.corrcoef(torch.stack([series[:-1], series[1:]]))[0, 1]
    within = torch.corrcoef(first.T)[0, 1]
    assert max(abs(lagged.item()), abs(within.item())) < 4 / 4000**0.5


def test_the_global_generator_is_untouched():
    before = torch.get_rng_state()
    draw(0, "data", 0)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("key", "error", "message"),
    [
        ((1.0, "data"), TypeError, "seed must be an int, got float"),
        ((True, "data"), TypeError, "seed must be an int, got bool"),
        ((0, 1), TypeError, "name must be a str, got int"),
        ((0, "data", "1"), TypeError, "step must be an int, got str"),
        ((0, "data", -1), ValueError, r"step must satisfy 0 <= step < 2\*\*32, got -1"),
        ((0, "data", 2**32), ValueError, "got 4294967296"),
    ],
)
def test_bad_keys(key, error, message):
    with pytest.raises(error, match=message):
        stream(*key)
