"""A small model to train under somebody else's loop, and the same training by hand."""

import torch

import bptt


class Net(torch.nn.Module):
    """An LSTM and a readout of its last step, which keeps the batches that it was trained on."""

    def __init__(self, lstm=bptt.nn.LSTM):
        super().__init__()
        torch.manual_seed(0)
        self.core = lstm(2, 6)
        self.readout = torch.nn.Linear(6, 1)
        self.seen = []

    def forward(self, x, labels=None):
        if self.training:
            self.seen.append((x.detach().clone(), labels.detach().clone()))
        y, _ = self.core(x.transpose(0, 1))
        return (self.readout(y[-1]).squeeze(-1) - labels).square().mean()


def batches(number, T=30, B=4):
    generator = torch.Generator().manual_seed(1)
    return [
        (torch.randn(B, T, 2, generator=generator), 3 * torch.randn(B, generator=generator))
        for _ in range(number)
    ]


def by_hand(model, given, *, every, accumulate=1, clip=None, first=0):
    """The rows of `bptt.flow.watch` over a training with SGD, and the trained model's weights."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    watch = bptt.flow.watch(model, every=every)
    rows = []
    for start in range(0, len(given), accumulate):
        step = first + start // accumulate
        with watch.step(step):
            for x, labels in given[start : start + accumulate]:
                (model(x, labels) / accumulate).backward()
        before = norm(model)
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        watch.clipped(before, norm(model))
        optimizer.step()
        optimizer.zero_grad()
        if (reading := watch.take()) is not None:
            rows.append(reading.row())
    return rows, weights(model)


def norm(model):
    """Of the whole gradient."""
    return torch.cat([each.grad.flatten() for each in model.parameters()]).norm().item()


def weights(model):
    return torch.cat([each.detach().flatten() for each in model.parameters()])


def expected(row, key="core:0:0"):
    """What is to be logged of a row with one LSTM, `core`, under the key that it has elsewhere."""
    layer = row["layers"]["core:0:0"]
    values = {
        "flow/grad_norm/before_clip": row["before"],
        "flow/grad_norm/after_clip": row["after"],
        f"flow/half_life/{key}": layer["half_life"],
        f"flow/h/first/{key}": layer["h"][0],
        f"flow/h/last/{key}": layer["h"][-1],
        f"flow/c/first/{key}": layer["c"][0],
        f"flow/c/last/{key}": layer["c"][-1],
    }
    return {tag: value for tag, value in values.items() if value is not None}


def hooks(model):
    return sum(len(each._forward_pre_hooks) + len(each._forward_hooks) for each in model.modules())
