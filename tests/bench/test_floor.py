"""The floor by its formula, and the meter of the machine."""

import os

import pytest

from bptt import ops
from bptt.bench import Case, Shape, System
from bptt.bench._floor import Machine, floor, middle, now

ZEN4 = Machine(peak=2 * 117.1e9, activation=0.355e-9)


@pytest.mark.parametrize(
    ("shape", "milliseconds"),
    [(Shape(120, 100, 1, 128), 24), (Shape(784, 100, 1, 100), 100)],
)
def test_the_floor_of_two_known_shapes(shape, milliseconds):
    assert floor(Case("lstm", shape, threads=2), ZEN4) == pytest.approx(milliseconds / 1000, rel=0.05)


def test_the_floor_counts_gates_activations_and_the_gradient_of_the_input():
    shape = Shape(10, 4, 8, 16)
    units, cell = 10 * 4 * 16, 4.9e-9
    for name, gates, part in (("lstm", 4, 1), ("gru", 3, 3 / 5), ("rnn", 1, 1 / 5)):
        products = gates * 2 * units * (3 * 16 + 3 * 8) / ZEN4.peak
        assert floor(Case(name, shape), ZEN4) == pytest.approx(products + units * cell * part)
    narrow = Shape(10, 4, 1, 16)
    products = 4 * 2 * units * (3 * 16 + 2) / ZEN4.peak
    assert floor(Case("lstm", narrow), ZEN4) == pytest.approx(products + units * cell)


@pytest.mark.parametrize(
    "options", [{"p": 0.5}, {"layers": 2}, {"packed": True}, {"bidirectional": True}, {"mode": "forward"}]
)
def test_other_rows_have_no_floor(options):
    assert floor(Case("lstm", Shape(10, 4, 8, 16), **options), ZEN4) is None


@pytest.mark.skipif(ops.instruction_set() is None, reason="no native kernels here")
def test_the_machine_is_measured():
    machine = now(1)
    assert 1e9 < machine.peak < 1e12
    assert 1e-11 < machine.activation < 1e-7


def test_the_middle_of_measurements():
    assert middle([Machine(3, 1), Machine(1, 3), Machine(2, 2)]) == Machine(2, 2)


def test_without_the_kernels_there_is_no_floor(monkeypatch):
    def missing(_threads, **_):
        raise RuntimeError

    monkeypatch.setattr(ops, "fma_peak", missing)
    assert now(1) is None


def test_the_meter_leaves_out_what_this_process_uses():
    meter = System()
    share = meter.watch()
    before = sum(os.times()[:4])
    while sum(os.times()[:4]) < before + 0.2:
        pass
    assert 0 <= share() < (os.cpu_count() or 1)
    assert 0 <= meter.average() <= os.getloadavg()[0]


def test_the_meter_sees_what_others_use(monkeypatch):
    from bptt.bench import _load

    clock, every, own = iter([0.0, 2.0]), iter([10.0, 15.0]), iter([1.0, 2.0])
    monkeypatch.setattr(_load.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(_load, "_every", lambda: next(every))
    monkeypatch.setattr(_load, "_own", lambda: next(own))
    monkeypatch.setattr(_load.sys, "platform", "linux")
    assert System().watch()() == pytest.approx((5 - 1) / 2)


def test_elsewhere_the_load_average_counts(monkeypatch):
    from bptt.bench import _load

    clock, own = iter([0.0, 2.0]), iter([1.0, 2.0])
    monkeypatch.setattr(_load.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(_load, "_own", lambda: next(own))
    monkeypatch.setattr(_load.sys, "platform", "darwin")
    monkeypatch.setattr(_load.os, "getloadavg", lambda: (1.25, 0.0, 0.0))
    assert System().watch()() == pytest.approx(0.75)
