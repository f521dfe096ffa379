"""The native kernels on several threads, and in processes that are forked from such."""

import threading

import pytest
import torch
from helpers.forks import in_a_fork
from helpers.problems import BACKENDS, assert_same, constants, gradients, leaves, run

import bptt
from bptt._threads import threads

pytestmark = pytest.mark.skipif("native" not in BACKENDS, reason="needs the native kernels")


@pytest.mark.parametrize("op", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize(
    "sizes",
    [
        {"T": 9, "B": 11, "I": 3, "H": 20},
        {"T": 9, "B": 11, "I": 40, "H": 20},
        {"T": 9, "B": 1, "I": 40, "H": 200},
        {"T": 33, "B": 130, "I": 40, "H": 12},  # in groups, each with sums of its own
    ],
    ids=str,
)
@pytest.mark.parametrize("varied", [False, True])
def test_the_number_of_threads_changes_no_bit(op, sizes, varied):
    T, B, H = (sizes[name] for name in "TBH")
    a = leaves(op, **sizes, dtype=torch.float32)
    tap = torch.zeros(T, B, H, requires_grad=True)
    lengths = 1 + 5 * torch.arange(B) % T if varied else None
    answers = []
    for count in (1, 2, 3, 16):  # more than there are cores: some wait for one
        with threads(count):
            outputs = run(op, a, h_tap=tap, lengths=lengths, backend="native")
            answers.append((outputs, gradients(outputs, {"tap": tap, **a})))
    for outputs, grads in answers[1:]:
        assert_same(outputs, answers[0][0], tolerance=0)
        assert_same(grads, answers[0][1], tolerance=0)


@pytest.mark.parametrize("op", ["lstm", "gru", "rnn"])
def test_threads_that_share_the_rows_of_frozen_weights(op):
    """Nothing is summed over the rows, so nothing makes the threads wait between the parts of the steps."""
    T = 9000 if op == "rnn" else 3000
    a = constants(op, T=T, B=7, I=3, H=64, dtype=torch.float32)
    a["w_hh"] /= 8
    x = a["x"].requires_grad_()
    lengths = torch.tensor([T, *torch.linspace(T / 2, T, 6)]).long()

    def answer(count):
        with threads(count):
            return gradients(run(op, a, lengths=lengths, backend="native"), {"x": x})

    alone = answer(1)
    for count in [2, 4] * 8:
        assert_same(answer(count), alone, tolerance=0)


@pytest.mark.parametrize("each", [1, 2])
def test_two_python_threads_at_once(each):
    problems = [leaves("lstm", T=40, B=8, H=30, dtype=torch.float32, seed=seed) for seed in range(4)]
    alone = [gradients(run("lstm", a), a) for a in problems]
    found = [None] * len(problems)

    def work(i):
        torch.set_num_threads(each)  # holds for the thread that says it
        for _ in range(10):
            found[i] = gradients(run("lstm", problems[i]), problems[i])

    workers = [threading.Thread(target=work, args=(i,)) for i in range(len(problems))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for ours, expected in zip(found, alone, strict=True):
        assert_same(ours, expected, tolerance=0)


class Recurrent(torch.utils.data.Dataset):
    """What a layer makes of its items, in a process of the loader's."""

    def __init__(self, layer, items):
        self.layer, self.items = layer, items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        y, _ = self.layer(self.items[index])
        (grad,) = torch.autograd.grad(y.sum(), self.layer.weight_hh_l0)
        return y.detach(), grad


def test_workers_of_a_data_loader():
    with threads(2):
        data = Recurrent(bptt.nn.LSTM(3, 20), torch.randn(6, 9, 16, 3))
        here = [data[index] for index in range(6)]
        loader = torch.utils.data.DataLoader(
            data, batch_size=None, num_workers=2, multiprocessing_context="fork", timeout=60
        )
        for made, expected in zip(loader, here, strict=True):
            assert all(map(torch.equal, made, expected))


def test_a_forked_child_does_not_hang(monkeypatch):
    # torch would fill what is uninitialised on several threads, and so hang itself.
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", False)
    with threads(2):
        a = leaves("gru", T=20, B=16, H=32, dtype=torch.float32)
        expected = gradients(run("gru", a), a)
        in_a_fork(lambda: assert_same(gradients(run("gru", a), a), expected, tolerance=0))
