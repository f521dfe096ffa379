"""Long-range tasks: the data, the loss and the chance level of each; batches live on the device."""

from . import data as data
from ._adding import adding as adding
from ._copying import copying as copying
from ._images import DigitTask as DigitTask
from ._mnist import pmnist as pmnist
from ._mnist import smnist as smnist
from ._mnist_5k import pmnist_5k as pmnist_5k
from ._mnist_5k import smnist_5k as smnist_5k
from ._registry import factory as factory
from ._registry import make as make
from ._registry import names as names
from ._registry import register as register
from ._task import Batch as Batch
from ._task import Task as Task
