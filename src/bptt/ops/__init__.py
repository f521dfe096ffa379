"""Whole-sequence recurrences with control of their gradient paths."""

from ._call import Backend as Backend
from ._call import Call as Call
from ._check import check_keep as check_keep
from ._check import check_lengths as check_lengths
from ._check import check_tap as check_tap
from ._dispatch import Explanation as Explanation
from ._dispatch import backends as backends
from ._dispatch import register_backend as register_backend
from ._dispatch import use_backend as use_backend
from ._explain import explain as explain
from ._gru import gru as gru
from ._lstm import lstm as lstm
from ._machine import activation_seconds as activation_seconds
from ._machine import fma_peak as fma_peak
from ._rnn import rnn as rnn
from ._shared_library import instruction_set as instruction_set
from ._shared_library import threaded as threaded
