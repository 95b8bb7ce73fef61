"""The methods that both libraries have, as they are made in either of them."""

from dataclasses import dataclass
from typing import Literal

Stat = Literal["jacobian", "cross gramian", "losses"]


@dataclass(frozen=True)
class Method:
    """A method of both libraries.

    :ivar name: What the table calls it.
    :ivar make: How it is made, with ``A`` for ``torchjd.aggregation``, ``S`` for
        ``torchjd.scalarization``, and ``m``.
    :ivar stat: What it is called with.
    :ivar fewest: The fewest rows that it takes.
    """

    name: str
    make: str
    stat: Stat = "jacobian"
    fewest: int = 1


METHODS = [
    Method("Mean", "A.Mean()"),
    Method("Sum", "A.Sum()"),
    Method("Constant", "A.Constant(torch.ones(m))"),
    Method("Random", "A.Random()"),
    Method("UPGrad", "A.UPGrad()"),
    Method("DualProj", "A.DualProj()"),
    Method("MGDA", "A.MGDA()"),
    Method("CAGrad", "A.CAGrad(c=0.5)"),
    Method("NashMTL", "A.NashMTL(n_tasks=m)"),
    Method("FairGrad", "A.FairGrad(alpha=1.0)"),
    Method("AlignedMTL", "A.AlignedMTL()"),
    Method("IMTLG", "A.IMTLG()"),
    Method("ConFIG", "A.ConFIG()"),
    Method("PCGrad", "A.PCGrad()"),
    Method("GradVac", "A.GradVac()"),
    Method("GradDrop", "A.GradDrop()"),
    Method("Krum", "A.Krum(n_byzantine=0 if m < 4 else 1)", fewest=3),
    Method("TrimmedMean", "A.TrimmedMean(trim_number=(m - 1) // 3)"),
    Method("PCD", "A.PCD()"),
    Method("ExcessMTL", "A.ExcessMTL()"),
    Method("MoDoWeighting", "A.MoDoWeighting()", "cross gramian"),
    Method("SDMGradWeighting", "A.SDMGradWeighting()", "cross gramian"),
    Method(
        "CRMOGM of UPGrad", "A.GramianWeightedAggregator(A.CRMOGMWeighting(A.UPGradWeighting()))"
    ),
    Method("Mean (losses)", "S.Mean()", "losses"),
    Method("Sum (losses)", "S.Sum()", "losses"),
    Method("Constant (losses)", "S.Constant(torch.ones(m))", "losses"),
    Method("Random (losses)", "S.Random()", "losses"),
    Method("GeometricMean (losses)", "S.GeometricMean()", "losses"),
    Method("UW (losses)", "S.UW(m)", "losses"),
    Method("DWA (losses)", "S.DWA()", "losses"),
    Method("IMTLL (losses)", "S.IMTLL(m)", "losses"),
    Method("FAMO (losses)", "S.FAMO(m)", "losses"),
    Method("STCH (losses)", "S.STCH(mu=0.1)", "losses"),
    Method("PBI (losses)", "S.PBI(theta=5.0, weights=torch.ones(m))", "losses"),
    Method("COSMOS (losses)", "S.COSMOS(lambda_=1.0, weights=torch.ones(m))", "losses"),
]
"""All that PyPI's torchjd 0.18 has."""
