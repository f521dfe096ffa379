"""Drop-in recurrent layers with control of their gradient paths, and models made of them."""

from ._convert import convert as convert
from ._convert import restore as restore
from ._gru import GRU as GRU
from ._lstm import LSTM as LSTM
from ._paths import Taps as Taps
from ._rnn import RNN as RNN
from ._sequence_model import SequenceModel as SequenceModel
from ._steer import draw_keeps as draw_keeps
from ._steer import recurrent_layers as recurrent_layers
from ._steer import steer as steer
