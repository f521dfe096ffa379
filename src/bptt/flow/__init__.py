"""Gradients through time, measured: on our layers and on anybody's; no drawing."""

from ._flows import Flow as Flow
from ._lags import LagProfile as LagProfile
from ._lags import lag_profile as lag_profile
from ._paths import Paths as Paths
from ._paths import expected as expected
from ._paths import paths as paths
from ._reach import Reach as Reach
from ._reach import reach as reach
from ._record import Recording as Recording
from ._record import record as record
from ._replay import ReplayError as ReplayError
from ._variance import Variance as Variance
from ._variance import variance as variance
