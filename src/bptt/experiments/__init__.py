"""Experiments as frozen specs read from TOML: arms × seeds on one protocol, run exactly."""

from ._document import names as names
from ._document import read as read
from ._document import source_text as source_text
from ._event import Event as Event
from ._load import load as load
from ._load import overlaid as overlaid
from ._problems import Problem as Problem
from ._problems import SpecError as SpecError
from ._run import Result as Result
from ._run import resume as resume
from ._run import run as run
from ._spec import Arm as Arm
from ._spec import Run as Run
from ._spec import Spec as Spec
from ._study import StudyError as StudyError
from ._trained import Trained as Trained
from ._trained import trained as trained
from ._trained import untrained as untrained
