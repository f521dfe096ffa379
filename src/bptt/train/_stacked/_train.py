"""The training of stacked runs: those at the same step go together, those behind go first."""

from collections.abc import Callable, Sequence

import torch

from .._errors import ReplicasMemoryError
from .._interrupt import StopRequested, StopSignals
from .._loop import Loop
from .._member import Member
from .._take_up import concluded
from ._memory import available, check_memory
from ._stack import Stack, Stretch

_Group = list[tuple[Member, Loop]]


def train_stacked(members: Sequence[Member], accept_environment: bool, stop: StopSignals) -> None:
    """Train every run to its end, or to where it is stopped."""
    try:
        for member in members:
            member.take_up(accept_environment, stacked=True)
        _train(members, stop)
    except StopRequested:
        for member in members:
            member.stop()
    except BaseException as error:
        for member in members:
            member.fail(error)
        if not isinstance(error, Exception):
            raise


def _train(members: Sequence[Member], stop: StopSignals) -> None:
    stack: Stack | None = None
    epoch, checked = 0, 0
    while True:
        for member, loop in _active(members):
            if loop.run.status is not None:
                with member.alone():
                    member.end(concluded(loop, stop.check))
        group = _hindmost(members)
        if not group:
            return
        stop.check()
        loops = [loop for _, loop in group]
        try:
            if stack is None or stack.loops != loops:
                orders = [loop.begin_epoch() for loop in loops]
                if len(loops) > checked:
                    check_memory(loops, orders)
                    checked = len(loops)
                stack = None  # gives its memory back
                stack = Stack(loops, orders)
            elif epoch != loops[0].run.epoch:
                stack.new_epoch([loop.begin_epoch() for loop in loops])
            epoch = loops[0].run.epoch
            stretch = stack.train(_meeting(loops[0], members), _going_on(group, stop))
        except torch.OutOfMemoryError as error:
            free = available(loops[0].run.device)
            raise ReplicasMemoryError(len(loops), needed=None, free=free, fit=None) from error
        for row, (member, loop) in enumerate(group):
            if member.loop is not None and loop.run.status is None:
                with member.alone():
                    _after_steps(stack, row, loop, stretch, stop.check)


def _active(members: Sequence[Member]) -> _Group:
    return [(member, member.loop) for member in members if member.loop is not None]


def _position(loop: Loop) -> tuple[int, int]:
    return loop.run.epoch, loop.run.epoch_step


def _hindmost(members: Sequence[Member]) -> _Group:
    active = _active(members)
    here = min((_position(loop) for _, loop in active), default=None)
    return [(member, loop) for member, loop in active if _position(loop) == here]


def _meeting(hindmost: Loop, members: Sequence[Member]) -> int:
    """The step of the epoch before which others wait, or its end."""
    epoch, here = _position(hindmost)
    ahead = [step for e, step in (_position(loop) for _, loop in _active(members)) if e == epoch]
    return min((step for step in ahead if step > here), default=hindmost.steps)


def _going_on(group: _Group, stop: StopSignals) -> Callable[[int], bool]:
    def going_on(under_way: int) -> bool:
        for member, loop in group:
            if member.loop is not None:
                with member.alone():
                    loop.report(under_way)
        return not (stop.requested or any(loop.save_is_due for member, loop in group if member.loop))

    return going_on


def _after_steps(stack: Stack, row: int, loop: Loop, stretch: Stretch, check: Callable[[], None]) -> None:
    """Give a run what came of its steps, and save it or end its epoch if it is time."""
    series = stretch.series[row]
    if series.losses:
        stack.rows.give_back(row, loop.run.step + series.finite)
        loop.count_series(series, stretch.seconds)
    if loop.run.status is not None:
        return
    if loop.run.epoch_step == loop.steps:
        loop.end_epoch(check)
    elif loop.save_is_due:
        loop.save()
