"""Work in a forked process."""

import os
import signal
import sys
import traceback


def in_a_fork(work):
    """Do `work` in a child that ends without destructors; fail unless it returns within 20 seconds."""
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
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
