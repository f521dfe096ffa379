"""Many runs trained in one process: on a GPU as one model with a row for each, on a CPU in threads."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from .._cpus import available_cpus
from ._alike import check_alike, check_stackable
from ._environment import as_configured
from ._interrupt import StopSignals
from ._member import Ending, Listeners, Member
from ._progress import Progress
from ._replica import Replica
from ._stacked import train_stacked
from ._take_up import carried_on


def fit_replicas(
    replicas: Iterable[Replica],
    *,
    stacked: bool | None = None,
    at_once: int | None = None,
    observe: Callable[[int, Progress], None] | None = None,
    ended: Callable[[int, Ending], None] | None = None,
    accept_environment: bool = False,
) -> tuple[Ending, ...]:
    """Train several runs in one process, each as `fit` would train it alone, in its own folder.

    On a CPU the runs are trained in threads, and end with the same bytes as alone. On a GPU they are stacked:
    their weights are the rows of one tensor, and a step of all of them is one recorded CUDA graph. Sums are
    then added in another order: a run equals the one alone to rounding, and its environment says
    `replicas: stacked`. What was trained in one way is refused in the other, unless `accept_environment`;
    who is beside a run may change.

    Args:
        replicas: the runs. Threads, precision, backend and device are the same for all. Stacked ones also
            have the same model, batch size, optimiser and task (but for its data), without dropout, hooks
            and lengths, and may differ in seed, detach, learning rate, weight decay, clipping, epochs,
            annealing and early stop.
        stacked: whether to stack; None for what the device is made for.
        at_once: in threads, how many runs at a time; None for as many as there are CPUs for their threads.
            Stacked runs are all trained at once.
        observe: called with a run's place in `replicas` and its progress, by one thread at a time: after
            every step and epoch, or stacked about every second, with the loss of the last checkpoint.
        ended: called likewise with a run's place and its ending, as soon as it is known. What it raises is
            raised when all the runs have ended.
        accept_environment: as in `fit`.

    Returns:
        Of each run its outcome, or what `fit` would have raised for it alone: `Interrupted` after a Ctrl-C or
        SIGTERM, which is not raised here. One run's failure stops no other. Stacked runs fail together where
        they compute together, and with a `ReplicasMemoryError` if they do not fit into the GPU's memory,
        which says how many would.

    Raises:
        TypeError: for what is no replica.
        ValueError: before anything is written, for a replica that `fit` would refuse with one, a folder or a
            model given twice, or replicas that do not go together.
        KeyboardInterrupt: after a second Ctrl-C, once the steps under way are done.
    """
    replicas = list(replicas)
    for replica in replicas:
        if not isinstance(replica, Replica):
            raise TypeError(f"replicas must be Replica objects, got {type(replica).__name__}")
        replica.check()
    if not replicas:
        return ()
    check_alike(replicas)
    if at_once is not None and at_once < 1:
        raise ValueError(f"at_once must be at least 1, got {at_once}")
    if stacked is None:
        stacked = replicas[0].device.type == "cuda"
    if stacked:
        check_stackable(replicas)
    config = replicas[0].config
    listeners = Listeners(observe, ended)
    members = [Member(i, one, listeners) for i, one in enumerate(_on_device(replicas))]
    with as_configured(config), StopSignals() as stop:
        if stacked:
            train_stacked(members, accept_environment, stop)
        else:
            workers = max(1, available_cpus() // config.threads) if at_once is None else at_once
            _train_in_threads(members, accept_environment, stop, workers)
    listeners.raise_error()
    return tuple(member.ending for member in members)


def _on_device(replicas: Sequence[Replica]) -> list[Replica]:
    """The same runs, their tasks on their device, each task once."""
    tasks = {id(replica.task): replica.task for replica in replicas}
    moved = {key: task.to(replicas[0].device) for key, task in tasks.items()}
    return [replace(replica, task=moved[id(replica.task)]) for replica in replicas]


def _train_in_threads(
    members: Sequence[Member], accept_environment: bool, stop: StopSignals, workers: int
) -> None:
    def train(member: Member) -> None:
        member.take_up(accept_environment, stacked=False)
        if member.loop is None:
            return
        try:
            member.end(carried_on(member.loop, stop.check))
        except BaseException as error:
            member.fail(error)

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(train, members))
