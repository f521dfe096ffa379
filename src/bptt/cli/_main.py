"""Which commands there are, and how each ends; nothing heavy loads before one is chosen."""

import difflib
import importlib
import os
import sys
from collections.abc import Callable, Sequence

from ._errors import CommandError

COMMANDS = {
    "ls": "list the experiments",
    "show": "show a resolved spec: values, sources and runs",
    "run": "run an experiment, or go on with it",
    "resume": "go on with a study or a single run",
    "report": "write the page, figures and tables of studies",
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
  bptt report runs/demo-lite                  the page of a study
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: the words after `bptt`; those of this process if None.

    Returns:
        The exit status: 0 done, 1 failed runs, 2 bad input, 130 Ctrl-C.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help", "help"):
        print(
            HELP.format(commands="\n".join(f"  {name:<8}{text}" for name, text in COMMANDS.items())), end=""
        )
        return 0
    if words[0] == "--version":
        from importlib.metadata import version

        print(f"bptt {version('bptt')}")
        return 0
    try:
        return _command(words[0])(words[1:])
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


def _command(name: str) -> Callable[[Sequence[str]], int]:
    if name in COMMANDS:
        return importlib.import_module(f"bptt.cli._{name}").main
    close = difflib.get_close_matches(name, COMMANDS, n=1, cutoff=0.5)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise CommandError(f"unknown command {name!r}, expected one of {', '.join(COMMANDS)}.{hint}")
