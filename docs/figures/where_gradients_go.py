"""The figures and numbers of "Where do gradients go?": all of them, or those named on the command line."""

import argparse
from collections.abc import Callable, Sequence
from math import exp, log
from pathlib import Path
from typing import Any

import drawings
import torch
from torch import Tensor, nn

import bptt
from bptt import report
from bptt.streams import stream

I, H = 32, 64
ROOT = Path(__file__).resolve().parents[2]
Row = dict[str, Any]


def noise(seed: int, *size: int) -> Tensor:
    return torch.randn(size, generator=stream(seed, "where-gradients-go"), dtype=torch.float64)


def layer(kind: Callable[..., nn.RNNBase], seed: int, **more: Any) -> nn.RNNBase:
    torch.manual_seed(seed)
    return kind(I, H, dtype=torch.float64, **more)


def last(y: Tensor, target: Tensor) -> Tensor:
    """The loss of every step and sequence."""
    return (y - target).square().sum(-1)


def rate(norms: Tensor, first: int, to: int) -> float:
    """The mean factor per step of the median over sequences, `(T,)` by lag."""
    return exp(log(norms[to] / norms[first]) / (to - first)) if norms[to] > 0 else 0.0


def positions(small: bool) -> list[Row]:
    """‖∂J_j/∂h_i‖ for every i ≤ j ≤ 4 of an RNN as torch initialises it: median over sequences."""
    B = 4 if small else 32
    x, target = noise(0, 4, B, I), noise(1, 4, B, H)
    (profile,) = bptt.flow.lag_profile(layer(bptt.nn.RNN, 0), x, lambda y, _: last(y, target), at=range(4))
    norms = profile.map().median(-1).values
    return [
        {"loss_at": j + 1, "state_at": i + 1, "norm": norms[j, i].item()}
        for j in range(4)
        for i in range(j + 1)
    ]


def matrices(seed: int) -> dict[str, Tensor]:
    """W_hh of the same size, to be scaled to a largest |eigenvalue|: normal, not quite, and not at all."""
    square = noise(seed, H, H)
    basis = torch.linalg.qr(square).Q
    eigenvalues = torch.linspace(-1, 1, H, dtype=torch.float64)
    return {
        "symmetric": basis @ eigenvalues.diag() @ basis.T,
        "random": square / H**0.5,
        "triangular": basis @ (eigenvalues.diag() + 0.25 * square.triu(1)) @ basis.T,
    }


def eigenvalues(small: bool) -> list[Row]:
    """Factor per step of the gradient against the largest |eigenvalue| and singular value of W_hh."""
    T, sequences = (40, 4) if small else (201, 16)
    rows = []
    for name, matrix in matrices(0).items():
        largest = torch.linalg.eigvals(matrix).abs().max()
        for radius in (0.5, 0.7, 0.9, 1.0, 1.1, 1.3):
            weight = matrix / largest * radius
            singular = torch.linalg.matrix_norm(weight, 2).item()
            found = {"linear": _linear(weight, T, sequences), "tanh": _tanh(weight, T, sequences)}
            for activation, norms in found.items():
                about = {"matrix": name, "activation": activation, "eigenvalue": radius, "singular": singular}
                rates = {"first_5_steps": rate(norms, 0, 5), "last_half": rate(norms, T // 2, T - 1)}
                rows.append(
                    about
                    | rates
                    | {f"lag_{lag}": norms[lag].item() / norms[0].item() for lag in LAGS if lag < T}
                )
    return rows


LAGS = (0, 1, 2, 3, 5, 8, 12, 20, 30, 50, 80, 120)


def _linear(weight: Tensor, T: int, sequences: int) -> Tensor:
    """(T,) by lag, of h_t = W h_{t−1} and a loss with a random gradient at the last h."""
    states = [noise(2, sequences, H).requires_grad_()]
    for _ in range(T - 1):
        states.append(states[-1] @ weight.T)
    found = torch.autograd.grad((states[-1] * noise(3, sequences, H)).sum(), states)
    return torch.stack([each.norm(dim=-1).median() for each in reversed(found)])


def _tanh(weight: Tensor, T: int, sequences: int) -> Tensor:
    rnn = layer(bptt.nn.RNN, 0)
    rnn.weight_hh_l0.data.copy_(weight)
    target = noise(3, sequences, H)
    (profile,) = bptt.flow.lag_profile(rnn, noise(4, T, sequences, I), lambda y, _: last(y, target))
    return profile.median()


def clipping(small: bool) -> list[Row]:
    """Gradients of an RNN's weights before and after clipping by norm and by value, and their directions."""
    rows = []
    for seed in range(4 if small else 120):
        rnn = layer(nn.RNN, seed)
        rnn.weight_hh_l0.data.mul_(0.5 + 4 * torch.rand((), generator=stream(seed, "gain")).item())
        y, _ = rnn(0.1 * noise(seed, 50, 1, I))
        last(y[-1], noise(seed, 1, H)).mean().backward()
        before = torch.cat([each.grad.flatten() for each in rnn.parameters()])
        row = {"seed": seed, "before": before.norm().item()}
        for name, clip, bound in (
            ("norm", nn.utils.clip_grad_norm_, 10.0),
            ("value", nn.utils.clip_grad_value_, 0.5),
        ):
            for part, each in zip(
                before.split([p.numel() for p in rnn.parameters()]), rnn.parameters(), strict=True
            ):
                each.grad = part.view_as(each).clone()
            clip(rnn.parameters(), bound)
            after = torch.cat([each.grad.flatten() for each in rnn.parameters()])
            row |= {f"after_{name}": after.norm().item()}
            row |= {f"cosine_{name}": torch.nn.functional.cosine_similarity(before, after, 0).item()}
        rows.append(row)
    return rows


def forget_gate(small: bool) -> list[Row]:
    """The half-life of ∂L/∂c against the bias of the forget gate, of all paths and of the carry alone."""
    T, sequences = (60, 4) if small else (401, 16)
    rows = []
    for bias in range(-3, 6):
        lstm = layer(bptt.nn.LSTM, 0)
        with torch.no_grad():
            lstm.bias_ih_l0[H : 2 * H] = bias
            lstm.bias_hh_l0[H : 2 * H] = 0
        batch = noise(5, T, sequences, I), noise(6, sequences, H)
        (split,) = bptt.flow.paths(lstm, batch, lambda y, batch: last(y[-1], batch[1]).sum())
        f = 1 / (1 + exp(-bias))
        row: Row = {"bias": bias, "f": f, "predicted": log(2) / -log(f)}
        for name in ("whole", "carry"):
            norms = getattr(split, name).norm(dim=-1).median(-1).values.flip(0)
            to = next((lag for lag in range(5, T) if norms[lag] < 1e-200), T) - 1
            row[f"rate_{name}"] = found = rate(norms, 1, to)
            row[f"half_life_{name}"] = log(2) / -log(found) if found < 1 else None
            row |= {f"lag_{lag}_{name}": norms[lag].item() / norms[0].item() for lag in range(0, T, 20)}
        rows.append(row)
    return rows


def lstm(small: bool) -> list[Row]:
    """Factor per step of an LSTM's gradients as torch initialises it, with W_hh multiplied by a gain."""
    T, sequences = (40, 4) if small else (201, 16)
    rows = []
    for gain in (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0):
        layers = {"LSTM": layer(bptt.nn.LSTM, 0), "LSTM, forget bias 3": layer(bptt.nn.LSTM, 0)}
        layers["LSTM, forget bias 3"].bias_ih_l0.data[H : 2 * H] = 3
        for name, each in layers.items():
            each.weight_hh_l0.data.mul_(gain)
            batch = noise(8, T, sequences, I), noise(7, sequences, H)
            (profile,) = bptt.flow.lag_profile(each, batch, lambda y, batch: last(y, batch[1]))
            rows.append({"layer": name, "gain": gain, "rate": rate(profile.median("c"), T // 10, T - 1)})
    return rows


def shortcuts(small: bool) -> list[Row]:
    """‖∂L/∂x_s‖ where the loss reads the last state, both ends, the maximum, or the last with skips."""
    T, sequences = (30, 4) if small else (100, 16)
    target = noise(9, sequences, H)

    def skip(x: Tensor) -> Tensor:
        rnn, states = layer(nn.RNN, 0), [x.new_zeros(sequences, H)] * 10
        inputs = x @ rnn.weight_ih_l0.T + rnn.bias_ih_l0 + rnn.bias_hh_l0
        for each in inputs:
            states.append((each + states[-1] @ rnn.weight_hh_l0.T).tanh() + states[-10])
        return states[-1]

    def ends(x: Tensor) -> Tensor:
        y = layer(nn.RNN, 0, bidirectional=True)(x)[0]
        return y[-1, :, :H] + y[0, :, H:]

    readers = {
        "last state": lambda x: layer(nn.RNN, 0)(x)[0][-1],
        "last states of two directions": ends,
        "maximum over steps": lambda x: layer(nn.RNN, 0)(x)[0].max(0).values,
        "last state, skip of 10 steps": skip,
    }
    rows = []
    for name, read in readers.items():
        x = noise(10, T, sequences, I).requires_grad_()
        (gradient,) = torch.autograd.grad(last(read(x), target).sum(), x)
        norms = gradient.norm(dim=-1).mean(-1)
        rows += [{"reader": name, "step": s + 1, "norm": norms[s].item()} for s in range(T)]
    return rows


#: What is measured, and how it is drawn.
FIGURES = {
    "positions": (positions, drawings.positions),
    "eigenvalues": (eigenvalues, drawings.eigenvalues),
    "clipping": (clipping, drawings.clipping),
    "forget-gate": (forget_gate, drawings.forget_gate),
    "lstm": (lstm, drawings.lstm),
    "shortcuts": (shortcuts, drawings.shortcuts),
}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="(default: all)")
    parser.add_argument("--out", type=Path, default=ROOT, help="where docs/images and results are")
    parser.add_argument("--small", action="store_true", help="in seconds; too small to mean anything")
    given = parser.parse_args(argv)
    torch.set_num_threads(1)
    images, results = given.out / "docs" / "images", given.out / "results" / "where-gradients-go"
    for folder in (images, results):
        folder.mkdir(parents=True, exist_ok=True)
    for name in given.names or FIGURES:
        measured, draw = FIGURES[name]
        rows = measured(given.small)
        (results / f"{name}.csv").write_text(drawings.table(rows), encoding="utf-8")
        drawn = report.figure_files(
            (9.4, 4.4), lambda sheet, draw=draw, rows=rows: draw(sheet, rows), ["svg"]
        )
        (images / f"where-gradients-go-{name}.svg").write_bytes(drawn["svg"])


if __name__ == "__main__":
    main()
