"""The papers' experiments on one GPU, in pieces of a few minutes that an archive carries on."""

from ._archive import pack as pack
from ._archive import unpack as unpack
from ._stage import STAGES as STAGES
from ._stage import Piece as Piece
from ._stage import piece as piece
