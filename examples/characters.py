"""A small character model, and what `bptt flow` needs to know of it.

Any text will do. The model is trained for a minute, then examined:

    bptt flow examples.characters:make --data TEXT.txt --lag 50

On the page, click a character to see which ones before it the prediction after it depends on.
"""

from pathlib import Path
from typing import Any

import torch
from rich.progress import track
from torch import Tensor, nn
from torch.nn import functional as F

import bptt

STEPS, BATCH, UPDATES = 120, 32, 400


class Characters(nn.Module):
    """Tokens (T, B) to the logits of the next ones, (T, B, V)."""

    def __init__(self, vocabulary: int, hidden: int = 128) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, 32)
        self.core = bptt.nn.LSTM(32, hidden)
        self.output = nn.Linear(hidden, vocabulary)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.output(self.core(self.embed(tokens))[0])


def losses(logits: Tensor, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Cross-entropy of every step and sequence, (T, B)."""
    _, targets = batch
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").view_as(targets)


def make(data: Path, updates: int = UPDATES) -> dict[str, Any]:
    """Train on a text file; the arguments of `bptt.flow.examine`."""
    text = data.read_text(encoding="utf-8")
    characters = sorted(set(text))
    tokens = torch.tensor([characters.index(each) for each in text[: 1 << 20]])
    if len(tokens) < 4 * STEPS:
        raise ValueError(f"data must hold at least {4 * STEPS} characters, got {len(tokens)}")
    train, held = (
        tokens.tensor_split([len(tokens) * 9 // 10]) if len(tokens) > 40 * STEPS else (tokens, tokens)
    )

    def draw(of: Tensor, number: int) -> tuple[Tensor, Tensor]:
        starts = torch.randint(len(of) - STEPS, (number,))
        windows = of[starts + torch.arange(STEPS + 1)[:, None]]
        return windows[:-1], windows[1:]

    torch.manual_seed(0)
    model = Characters(len(characters))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in track(range(updates), description="training", transient=True):
        batch = draw(train, BATCH)
        optimizer.zero_grad()
        losses(model(batch[0]), batch).mean().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    sample = draw(held, 1)
    return {
        "model": model.eval(),
        "batch": draw(held, BATCH),
        "loss": losses,
        "name": f"characters of {data.name}",
        "sample": sample,
        "text": "".join(characters[token] for token in sample[0][:, 0].tolist()),
        "about": {"data": data.name, "updates": str(updates)},
    }
