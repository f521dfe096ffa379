"""Data files: reading, finding, checking and, only when asked, downloading them."""

from ._bundled import load_mnist_5k as load_mnist_5k
from ._check import Check as Check
from ._check import FileCheck as FileCheck
from ._check import check as check
from ._download import DownloadError as DownloadError
from ._download import download as download
from ._fetch import fetch as fetch
from ._find import cache as cache
from ._find import find as find
from ._find import roots as roots
from ._idx import DataError as DataError
from ._idx import read_images as read_images
from ._idx import read_labels as read_labels
from ._mnist import MNIST as MNIST
from ._mnist import load_mnist as load_mnist
from ._sets import names as names
