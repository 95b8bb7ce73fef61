"""The table of aggregators and weightings: a line a method."""

from ._aligned_mtl import AlignedMTL as AlignedMTL, AlignedMTLWeighting as AlignedMTLWeighting
from ._averaged import AveragedWeighting as AveragedWeighting
from ._cagrad import CAGrad as CAGrad, CAGradWeighting as CAGradWeighting
from ._config import ConFIG as ConFIG, ConFIGWeighting as ConFIGWeighting
from ._conicgrad import ConicGrad as ConicGrad, ConicGradWeighting as ConicGradWeighting
from ._constant import Constant as Constant, ConstantWeighting as ConstantWeighting
from ._crmogm import CRMOGMWeighting as CRMOGMWeighting
from ._dbmtl import DBMTL as DBMTL
from ._dualproj import DualProj as DualProj, DualProjWeighting as DualProjWeighting
from ._epo import EPO as EPO, EPOWeighting as EPOWeighting
from ._excessmtl import ExcessMTL as ExcessMTL, ExcessMTLWeighting as ExcessMTLWeighting
from ._fair_grad import FairGrad as FairGrad, FairGradWeighting as FairGradWeighting
from ._flattening import Flattening as Flattening
from ._graddrop import GradDrop as GradDrop
from ._gradnorm import GradNorm as GradNorm, GradNormWeighting as GradNormWeighting
from ._gradops import GradOPS as GradOPS, GradOPSWeighting as GradOPSWeighting
from ._gradvac import GradVac as GradVac, GradVacWeighting as GradVacWeighting
from ._imtlg import IMTLG as IMTLG, IMTLGWeighting as IMTLGWeighting
from ._krum import Krum as Krum, KrumWeighting as KrumWeighting
from ._lexicographic import (
    Lexicographic as Lexicographic,
    LexicographicWeighting as LexicographicWeighting,
)
from ._mean import Mean as Mean, MeanWeighting as MeanWeighting
from ._mgda import MGDA as MGDA, MGDAWeighting as MGDAWeighting
from ._moco import MoCo as MoCo
from ._modo import MoDo as MoDo, MoDoWeighting as MoDoWeighting
from ._momentum_config import MomentumConFIG as MomentumConFIG
from ._nash_mtl import NashMTL as NashMTL, NashMTLWeighting as NashMTLWeighting
from ._normalized import NormalizedWeighting as NormalizedWeighting
from ._pcd import PCD as PCD, PCDWeighting as PCDWeighting
from ._pcgrad import PCGrad as PCGrad, PCGradWeighting as PCGradWeighting
from ._periodic import PeriodicWeighting as PeriodicWeighting
from ._random import Random as Random, RandomWeighting as RandomWeighting
from ._sdmgrad import SDMGrad as SDMGrad, SDMGradWeighting as SDMGradWeighting
from ._sum import Sum as Sum, SumWeighting as SumWeighting
from ._trimmed_mean import TrimmedMean as TrimmedMean
from ._upgrad import UPGrad as UPGrad, UPGradWeighting as UPGradWeighting
