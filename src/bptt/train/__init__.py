"""One training loop whose runs can stop anywhere and end with the same bytes."""

from ._config import Config as Config
from ._config import ConfigError as ConfigError
from ._environment import environment as environment
from ._environment import served_by as served_by
from ._errors import AnotherRunError as AnotherRunError
from ._errors import DiskFullError as DiskFullError
from ._errors import EnvironmentChangedError as EnvironmentChangedError
from ._errors import Interrupted as Interrupted
from ._errors import LockedError as LockedError
from ._errors import RunError as RunError
from ._errors import describe as describe
from ._evaluate import evaluate as evaluate
from ._files import locked as locked
from ._files import write_whole as write_whole
from ._fit import fit as fit
from ._folder import read_failure as read_failure
from ._folder import read_metrics as read_metrics
from ._folder import read_spec as read_spec
from ._folder import record_failure as record_failure
from ._folder import spec_hash as spec_hash
from ._outcome import Outcome as Outcome
from ._outcome import read_outcome as read_outcome
from ._outcome import verify_outcome as verify_outcome
from ._progress import Progress as Progress
