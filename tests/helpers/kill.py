"""Runs that are killed, in a process of its own: `python -m helpers.kill FOLDER clean|torn|random [KILLS]`.

Every attempt is a fork of a process that has imported torch and never used it, so an attempt costs a fraction
of a second. Prints one JSON object.
"""

import itertools
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch._dynamo  # noqa: F401 - the first optimiser imports it; here no fork has to

from helpers import runs

CALLS = ("write", "fsync", "replace", "ftruncate")


def attempt(work: Callable[[], None], kill_after: float | None = None) -> bool:
    """Whether `work` ended by itself in a forked process; False if SIGKILL ended it."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException as error:
            os.write(2, f"{type(error).__name__}: {error}\n".encode())
            os._exit(1)
        os._exit(0)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return False
    if status != 0:
        raise RuntimeError(f"the run failed with wait status {status}")
    return True


def plant_bomb(at: int, *, torn: bool) -> None:
    """Kill this process at its `at`-th writing call; a torn write gets half of its bytes out first."""
    calls = itertools.count(1)

    def armed(name, real):
        def call(*args):
            if next(calls) == at:
                if torn and name == "write":
                    real(args[0], args[1][: len(args[1]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args)

        return call

    for name in CALLS:
        setattr(os, name, armed(name, getattr(os, name)))


def long_run(folder: Path) -> None:
    """About a second of training, with checkpoints within its epochs."""
    runs.fit(folder, checkpoint_seconds=0.01, epochs=12, watch_every=5)


def train(folder: Path, at: int | None = None, *, torn: bool = False) -> None:
    """Two epochs of two steps with a checkpoint after every step, every other one looked at."""
    if at is not None:
        plant_bomb(at, torn=torn)
    runs.fit(folder, checkpoint_seconds=0, epochs=2, batch_size=10, watch_every=2)


def sweep(root: Path, torn: bool) -> dict:
    """Kill a new run at each writing call in turn, then kill its resumption there too, then let it end."""
    attempt(lambda: train(root / "undisturbed"))
    expected = runs.results(root / "undisturbed")
    different, kills = [], 0
    for at in itertools.count(1):
        folder = root / f"killed-{at}"
        if attempt(lambda: train(folder, at, torn=torn)):  # noqa: B023 - called before the next turn
            break
        kills += 1 + (not attempt(lambda: train(folder, at, torn=torn)))  # noqa: B023
        attempt(lambda: train(folder))  # noqa: B023
        if runs.results(folder) != expected or timing(folder) != timing(root / "undisturbed"):
            different.append(at)
    return {"calls": at - 1, "kills": kills, "different": different}


def at_random(root: Path, kills: int) -> dict:
    """Kill a run at random moments, and another one if that ended early, `kills` times in all."""
    draw = random.Random(kills)
    start = time.monotonic()
    attempt(lambda: long_run(root / "undisturbed"))
    seconds = time.monotonic() - start
    expected, killed, different = runs.results(root / "undisturbed"), 0, []
    for number in itertools.count(1):
        folder = root / f"killed-{number}"
        while killed < kills:
            if attempt(lambda: long_run(folder), kill_after=draw.uniform(0, 2 * seconds / kills)):  # noqa: B023
                break
            killed += 1
        attempt(lambda: long_run(folder))  # noqa: B023
        if runs.results(folder) != expected or timing(folder) != timing(root / "undisturbed"):
            different.append(number)
        if killed == kills:
            return {"kills": killed, "runs": number, "different": different}
    raise AssertionError


def timing(folder: Path) -> list[int]:
    """The epochs that timing.jsonl tells of."""
    return [json.loads(line)["epoch"] for line in (folder / "timing.jsonl").read_text().splitlines()]


if __name__ == "__main__":
    root, mode, kills = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 0
    said = at_random(root, kills) if mode == "random" else sweep(root, torn=mode == "torn")
    sys.stdout.write(json.dumps(said))
