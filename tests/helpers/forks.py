"""Work in forked processes."""

import os
import signal
import sys
import traceback


def in_a_fork(work):
    """Do `work` in a child that ends without destructors; fail unless it returns within 20 seconds."""
    in_forks(work)


def in_forks(*works):
    """Do each of `works` in a child of its own, all at once; else as `in_a_fork`."""
    children = [_forked(work) for work in works]
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * len(children)


def _forked(work):
    child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)  # pytest's would wait for a hanging call to return
            signal.alarm(20)
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(status)
    return child
