"""What to try, in order, each with its reason and the number behind it."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import log

from ._verdict import VANISHED, Remedy, Verdict

LONG = 1000
"""Steps beyond which attention or dilation is advised rather than gates. A rule of thumb."""
DEAD = 0.5
"""From this share of dead relu units on, they are the first thing to mend. A rule of thumb."""
CLIPPED = 1e4
"""A gradient whose usual norm is above this has exploded already, and is none to clip at. A rule of thumb."""
CLIP = 1.0
"""The norm to clip at then: that of the h-detach paper's experiments (Kanuparthi et al. 2019)."""
CARRIED = 0.5
"""A carry with less than this share of the gradient is drowned by the gates. A rule of thumb."""


@dataclass(frozen=True)
class Facts:
    """What the remedies of one layer and direction rest on; None where it has no meaning.

    Attributes:
        radius: spectral radius of W_hh of an RNN.
        gate: median over units, steps and sequences of what is kept of the carry in a step: f, or z of a GRU.
        dead: share of an RNN's relu units that are 0 at all steps of all sequences.
        carry: share of the carry in the gradient at the wanted lag, ‖carry‖ / (‖carry‖ + ‖gates‖), median.
        carry_reaches: whether the carry alone keeps `VANISHED` of the end value at the wanted lag.
        clip: median over sequences of the norm of the gradient of all weights.
    """

    radius: float | None = None
    gate: float | None = None
    dead: float | None = None
    carry: float | None = None
    carry_reaches: bool = False
    clip: float | None = None


def remedies(verdict: Verdict, facts: Facts) -> tuple[Remedy, ...]:
    """What to try against a verdict; nothing where the gradient is preserved."""
    what = {
        "vanishing": _against_vanishing,
        "exploding": _against_exploding,
        "no gradient": _against_none,
        "non-finite": _against_non_finite,
        "preserved": _against_nothing,
    }
    return tuple(what[verdict.kind](verdict, facts))


def _against_vanishing(verdict: Verdict, facts: Facts) -> Iterator[Remedy]:
    lag = verdict.lag
    if facts.dead is not None and facts.dead >= DEAD:
        yield _alive(facts.dead)
    if facts.radius is not None:
        if facts.radius < 1:
            yield _orthogonal(facts.radius)
        yield Remedy(
            "gating",
            "use an LSTM or a GRU",
            "an RNN has no path but through W_hh, and its gradient changes "
            f"× {verdict.decay.rate if verdict.decay else 0:.3g} per step",
        )
    if facts.gate is not None:
        needed = 0.5 ** (1 / lag)
        if facts.gate < needed:
            gate = "forget gate" if verdict.of == "LSTM" else "update gate z"
            reason = (
                f"the {gate} keeps {facts.gate:.3g} of the carry per step in the median; to keep half of it "
                f"over {lag} steps takes {needed:.4g}"
            )
            bias = log(needed / (1 - needed))
            yield Remedy("forget bias", f"raise the bias of the {gate} to about {bias:.2g}", reason, bias)
            counter = ", and those of the input gate as their negatives" if verdict.of == "LSTM" else ""
            yield Remedy(
                "chrono initialisation",
                f"draw the biases of the {gate} as ln U(1, {max(lag - 1, 2)}){counter} "
                "(Tallec and Ollivier 2018)",
                f"units then remember from 1 to about {lag} steps",
                float(lag),
            )
        yield from _detached(facts)
    if lag >= LONG or not verdict.within_reach:
        yield Remedy(
            "attention or dilation",
            "let the model read earlier steps directly: attention, skips or dilated layers",
            f"a lag of {lag} is {lag} hops through the recurrence, and the gradient at its end is "
            f"{verdict.at_lag:.2g} of its end value",
        )


def _against_exploding(verdict: Verdict, facts: Facts) -> Iterator[Remedy]:
    if facts.clip is not None:
        usual = facts.clip <= CLIPPED  # not so if it is NaN
        norm = facts.clip if usual else CLIP
        yield Remedy(
            "clipping",
            f"clip the gradient's norm at about {norm:.3g} (torch.nn.utils.clip_grad_norm_)",
            f"its median over these sequences is {facts.clip:.3g}, of the loss averaged over steps"
            + ("; half to ten times the usual norm serves (Pascanu et al. 2013)" if usual else ": too large"),
            norm,
        )
    yield from _detached(facts)
    if facts.radius is not None and facts.radius > 1:
        yield _orthogonal(facts.radius)
    if verdict.of == "RNN":
        rate = verdict.decay.rate if verdict.decay else 1.0
        yield Remedy("gating", "use an LSTM or a GRU", f"the gradient grows × {rate:.3g} per step")


def _against_none(verdict: Verdict, facts: Facts) -> Iterator[Remedy]:
    if facts.dead is not None and facts.dead >= DEAD:
        yield _alive(facts.dead)
    start = verdict.zero_from or 0
    yield Remedy(
        "connection",
        "look for what cuts the graph: a mask of zeros, lengths that are too short, detach(), no_grad, the "
        "end of a receptive field",
        "no gradient arrives at all: the loss does not depend on these states"
        if start == 0
        else f"the gradient is exactly zero from lag {start} on, and does not fade before",
        float(start),
    )


def _against_non_finite(verdict: Verdict, facts: Facts) -> Iterator[Remedy]:
    yield Remedy(
        "source",
        "mend what makes the first value that is not finite",
        verdict.where or "bptt.flow.first_nonfinite names it",
    )
    if facts.radius is not None and facts.radius > 1:
        yield _orthogonal(facts.radius)


def _against_nothing(verdict: Verdict, facts: Facts) -> Iterator[Remedy]:
    del verdict, facts
    return iter(())


def _detached(facts: Facts) -> Iterator[Remedy]:
    if facts.carry is None or facts.carry >= CARRIED or not facts.carry_reaches:
        return
    yield Remedy(
        "h-detach",
        "block the gates' path at random: detach=bptt.Detach(h=0.25) (Kanuparthi et al. 2019)",
        f"at the wanted lag the carry alone still has {VANISHED:.0e} of the end value or more, but only "
        f"{facts.carry:.2g} of the gradient",
        0.25,
    )


def _orthogonal(radius: float) -> Remedy:
    does = "below 1 shrinks" if radius < 1 else "above 1 grows"
    return Remedy(
        "orthogonal initialisation",
        "initialise W_hh with torch.nn.init.orthogonal_",
        f"its spectral radius is {radius:.3g}, and what is {does} with every step",
        1.0,
    )


def _alive(dead: float) -> Remedy:
    return Remedy(
        "living units",
        "initialise W_hh with the identity and smaller inputs, or use tanh",
        f"{dead:.0%} of the relu units are 0 at every step, and pass no gradient",
        dead,
    )
