"""Small models, losses and the summary of what `bptt.flow.first_nonfinite` finds in them."""

import torch
from torch import nn

import bptt

T, B, I, H = 6, 4, 3, 5


def model(kind="LSTM", library=bptt.nn, **more):
    torch.manual_seed(1)
    core = getattr(library, kind)(I, H, 2, **more)
    return bptt.nn.SequenceModel(core, 2, embed=nn.Linear(I, I))


def data(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(2))


def squares(y, _):
    return y.square().mean()


def steep(y, scale):
    """0, whose gradient is `scale`."""
    return scale * (y - y.detach()).sum()


def overflow(of):
    """Make the readout of a model of GRUs infinite: all that it reads is nearly 1."""
    of.core.bias_ih_l1.data[H:] = torch.tensor([-20.0, 20.0]).repeat_interleave(H)
    of.output.weight.data.fill_(2e38)


def place(found):
    return found.during, found.what, found.name, found.step, found.sequence
