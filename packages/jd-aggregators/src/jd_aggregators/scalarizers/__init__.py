"""The table of scalarizers: a line a method."""

from ._constant import Constant as Constant
from ._cosmos import COSMOS as COSMOS
from ._dwa import DWA as DWA
from ._famo import FAMO as FAMO
from ._geometric_mean import GeometricMean as GeometricMean
from ._imtll import IMTLL as IMTLL
from ._mean import Mean as Mean
from ._pbi import PBI as PBI
from ._random import Random as Random
from ._scale_invariant import ScaleInvariant as ScaleInvariant
from ._stch import STCH as STCH
from ._sum import Sum as Sum
from ._tchebycheff import Tchebycheff as Tchebycheff
from ._uw import UW as UW
