"""Commands of the command line that must not succeed."""

from bptt.cli import main


def refused(capsys, *argv):
    """The message on stderr of a command that bad input ends with status 2 and without a traceback."""
    status = main(argv)
    output = capsys.readouterr()
    assert status == 2
    assert "Traceback" not in output.err
    return output.err
