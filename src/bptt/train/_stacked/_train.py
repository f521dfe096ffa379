"""The training of stacked runs: those at the same step go together, those behind go first."""

from collections.abc import Callable, Sequence

from .._interrupt import StopRequested, StopSignals
from .._loop import Loop
from .._member import Member
from .._take_up import concluded
from ._memory import check_memory
from ._stack import Stack

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
            if member.loop is not None:
                member.fail(error)
        if not isinstance(error, Exception):
            raise


def _train(members: Sequence[Member], stop: StopSignals) -> None:
    stack: Stack | None = None
    epoch = 0
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
        if stack is None or stack.loops != loops:
            orders = [loop.begin_epoch() for loop in loops]
            if stack is None:
                check_memory(loops, orders)
            stack = None  # gives its memory back
            stack = Stack(loops, orders)
        elif epoch != loops[0].run.epoch:
            stack.new_epoch([loop.begin_epoch() for loop in loops])
        epoch = loops[0].run.epoch
        stack.train(_meeting(loops[0], members), _going_on(group, stop))
        for member, loop in group:
            if loop.run.status is None:
                with member.alone():
                    _after_steps(loop, stop.check)


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
            with member.alone():
                loop.report(under_way)
        return not (stop.requested or any(loop.save_is_due for _, loop in group))

    return going_on


def _after_steps(loop: Loop, check: Callable[[], None]) -> None:
    if loop.run.epoch_step == loop.steps:
        loop.end_epoch(check)
    elif loop.save_is_due:
        loop.save()
