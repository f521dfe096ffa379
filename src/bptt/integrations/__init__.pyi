from ._lightning import LightningFlow as LightningFlow
from ._tensorboard import TensorBoardFlow as TensorBoardFlow
from ._transformers import TransformersFlow as TransformersFlow
