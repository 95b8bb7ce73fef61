"""What a strict type checker must make of the public names: checked, never run.

Each ``type: ignore`` is an error that must be reported: the checker complains of one too many.
"""

from typing import assert_type

import torch
from torch import Tensor

import jd_aggregators
import torchjd
import torchjd.scalarization
from torchjd.aggregation import Aggregator, Flattening, Mean, Method, UPGrad, UPGradWeighting
from torchjd.plugins import Plugin, hookimpl, list_plugins
from torchjd.scalarization import Scalarizer

assert_type(UPGrad(), jd_aggregators.UPGrad)
assert_type(torchjd.aggregation.Mean(), jd_aggregators.Mean)
assert_type(torchjd.scalarization.Mean(), jd_aggregators.scalarizers.Mean)
assert_type(torchjd.linalg.MinNormSolver(), jd_aggregators.MinNormSolver)
assert_type(torchjd.aggregation.methods(), tuple[Method, ...])
assert_type(torchjd.__version__, str)
assert_type(list_plugins(), tuple[Plugin, ...])


def misspelt() -> None:
    """Use names that do not exist."""
    from torchjd.aggregation import UPGrid  # type: ignore[attr-defined]

    UPGrid()
    torchjd.aggregation.DualPrij()  # type: ignore[attr-defined]
    torchjd.scalarization.Meen()  # type: ignore[attr-defined]
    torchjd.backwards()  # type: ignore[attr-defined]


UPGrad("cpu")  # type: ignore[arg-type]
UPGrad(prefrence_vector=None)  # type: ignore[call-arg]
assert_type(UPGrad().warm_start, bool)
UPGrad().warm_start = "yes"  # type: ignore[assignment]

matrix = torch.ones(2, 3)
assert_type(UPGrad()(matrix), Tensor)
assert_type(UPGradWeighting()(matrix @ matrix.T), Tensor)
Flattening(UPGradWeighting())
Flattening(Mean())  # type: ignore[arg-type]

scalarizer: Scalarizer = torchjd.scalarization.Mean()
assert_type(scalarizer(torch.ones(3)), Tensor)
torchjd.scalarization.Mean()([1.0])  # type: ignore[arg-type]

parameter = torch.zeros(3, requires_grad=True)
torchjd.backward([parameter.sum()], [parameter], UPGrad())
torchjd.backward([parameter.sum()], [parameter], "UPGrad")  # type: ignore[arg-type]
torchjd.autojac.backward([parameter.sum()], inputs=[parameter], parallel_chunk_size=1)
torchjd.autojac.backward([parameter.sum()], inputs=[parameter], chunk_size=1)  # type: ignore[call-arg]


class Own(Aggregator):
    """A method of a third party."""

    def forward(self, matrix: Tensor, /) -> Tensor:
        """Return the sum of the rows."""
        return matrix.sum(dim=0)


@hookimpl
def torchjd_aggregators() -> dict[str, str]:
    """Return what it offers."""
    return {"Own": "own:Own"}


assert_type(torchjd_aggregators(), dict[str, str])
