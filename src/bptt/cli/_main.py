"""Which commands there are, and how each ends; nothing heavy loads before one is chosen."""

import importlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from io import TextIOWrapper

from ._errors import CommandError, nearest

COMMANDS = {
    "ls": "list the experiments",
    "show": "show a resolved spec: values, sources and runs",
    "run": "run an experiment, or go on with it",
    "resume": "go on with a study or a single run",
    "report": "write the page, figures and tables of studies",
    "flow": "say how far back in time models learn, and show it on a page",
    "bench": "time our recurrences beside torch.nn",
    "doctor": "check versions, devices, backends and data",
    "data": "check or fetch data sets",
}

HELP = """\
usage: bptt COMMAND ...

Control, measure and speed up backpropagation through time.

commands:
{commands}

  bptt COMMAND --help   what a command takes
  bptt --version        the version

examples:
  bptt run demo                               vanilla and h-detach on 5,000 real digits, in minutes
  bptt show copying --profile paper           every value of the published protocol
  bptt run copying --set task.delay=300       the same spec with another value
  bptt report runs/demo-lite                  the table and the page of a study
  bptt flow runs/demo-lite --lag 100          whether its models learn from 100 steps back

exit status:
  0    done; a run that ended at a loss or gradient that is not finite is a result
  1    a run failed, a download failed, something checked is not right, or a lag is out of reach
  2    bad input
  130  stopped with Ctrl-C; all is saved (a second one stops without saving more)
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: the words after `bptt`; those of this process if None.

    Returns:
        The exit status: 0 done, 1 failed runs, 2 bad input, 130 Ctrl-C.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # an ASCII terminal lacks ≥, which is no reason to stop
    try:
        status = _run(list(sys.argv[1:] if argv is None else argv))
        if status == 130 and argv is None:
            signal.signal(
                signal.SIGINT, signal.SIG_IGN
            )  # all is said; another would end Python without its status
        sys.stdout.flush()
    except CommandError as failure:
        failure.show()
        return failure.status
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader, such as `head`, has seen enough; Python would complain once more while closing stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        if error.filename is None:
            raise
        CommandError(f"{error.filename} cannot be used: {error.strerror}").show()
        return 2
    return status


def _run(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        commands = "\n".join(f"  {name:<8}{text}" for name, text in COMMANDS.items())
        print(HELP.format(commands=commands), end="")
        return 0
    if words[0] == "--version":
        from importlib.metadata import version

        print(f"bptt {version('bptt')}")
        return 0
    try:
        return _command(words[0])(words[1:])
    except SystemExit as stop:  # tyro, after showing help; rich, when the reader of stdout has left
        return stop.code if isinstance(stop.code, int) else 0


def _command(name: str) -> Callable[[Sequence[str]], int]:
    if name in COMMANDS:
        return importlib.import_module(f"bptt.cli._{name}").main
    raise CommandError(
        f"unknown command {name!r}, expected one of {', '.join(COMMANDS)}.{nearest(name, COMMANDS)}"
    )
