from . import nn as nn
from . import ops as ops
from . import tasks as tasks
from .detach import Detach as Detach
from .detach import Keeps as Keeps
