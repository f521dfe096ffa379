"""One of several runs in a process: what fails of it concerns nobody else."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from threading import Lock

from ._interrupt import StopRequested
from ._loop import Loop
from ._outcome import Outcome
from ._progress import Progress
from ._replica import Replica
from ._take_up import stopped, taken_up

Ending = Outcome | BaseException


class Listeners:
    """Whoever is told of the runs, by one thread at a time."""

    def __init__(
        self,
        observe: Callable[[int, Progress], None] | None,
        ended: Callable[[int, Ending], None] | None,
    ) -> None:
        self._observe, self._ended = observe, ended
        self._talking = Lock()
        self._error: BaseException | None = None

    def observer(self, index: int) -> Callable[[Progress], None] | None:
        observe = self._observe
        if observe is None:
            return None

        def tell(progress: Progress) -> None:
            with self._talking:
                observe(index, progress)

        return tell

    def end(self, index: int, ending: Ending) -> None:
        if self._ended is not None:
            with self._talking:
                try:
                    self._ended(index, ending)
                except BaseException as error:
                    self._error = self._error or error

    def raise_error(self) -> None:
        """Raise what `ended` raised first."""
        if self._error is not None:
            raise self._error


class Member:
    """A run among others.

    Attributes:
        loop: its training, while its folder is held and it has not ended.
        ending: its outcome, or what stopped it.
    """

    def __init__(self, index: int, replica: Replica, listeners: Listeners) -> None:
        self.replica = replica
        self.loop: Loop | None = None
        self.ending: Ending = RuntimeError("the run was not begun")
        self._index, self._listeners = index, listeners
        self._held = ExitStack()
        self._concluded = False

    def take_up(self, accept_environment: bool, *, stacked: bool) -> None:
        """Hold the folder, and begin or end by what it holds."""
        observe = self._listeners.observer(self._index)
        with self.alone():
            taken = self._held.enter_context(
                taken_up(self.replica, accept_environment, observe, stacked=stacked)
            )
            if isinstance(taken, Outcome):
                self.end(taken)
            else:
                self.loop = taken

    @contextmanager
    def alone(self) -> Iterator[None]:
        """What is raised inside, but for a request to stop, ends this run and goes no further."""
        try:
            yield
        except StopRequested:
            raise
        except Exception as error:
            self.fail(error)

    def end(self, outcome: Outcome) -> None:
        """The run has come to its end."""
        self._held.close()
        self._conclude(outcome)

    def fail(self, error: BaseException) -> None:
        """The run is ended by an error, which its folder is told of; a run that has ended is left alone."""
        if self._concluded:
            return
        self._held.__exit__(type(error), error, error.__traceback__)
        self._conclude(error)

    def _conclude(self, ending: Ending) -> None:
        self.loop, self.ending, self._concluded = None, ending, True
        self._listeners.end(self._index, ending)

    def stop(self) -> None:
        """Save the run where it stands."""
        if self.loop is None:
            return
        with self.alone():
            self.fail(stopped(self.loop.run))
