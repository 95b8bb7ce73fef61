"""QuadprogProjector gives the numbers of PyPI's torchjd 0.18, and refuses what it must.

The reference values were measured with torchjd 0.18.0, torch 2.13.0 and quadprog 0.1.14 on the CPU.
"""

import copy
import pickle
import sys
from importlib.util import find_spec, module_from_spec
from typing import NamedTuple

import pytest
import torch

from jd_aggregators import DualProjWeighting, QuadprogProjector, UPGrad, UPGradWeighting
from torchjd.linalg import DualConeProjector

pytest.importorskip("quadprog", reason="quadprog is optional")

NAN, INF = float("nan"), float("inf")
GRAMIAN = [[6.0, -5.0, -3.0], [-5.0, 11.0, 0.0], [-3.0, 0.0, 9.0]]
COMBINATIONS = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.25, -0.5, 0.75]]


class Case(NamedTuple):
    """A Gramian, and the weights that torchjd 0.18 gives it in float64."""

    name: str
    gramian: list
    parameters: dict
    pref_vector: list | None
    upgrad: list
    dualproj: list


SIX_ROWS = [
    [15.0, -12.0, 1.0, 1.0, -3.0, -1.0],
    [-12.0, 16.0, -6.0, -5.0, 7.0, -7.0],
    [1.0, -6.0, 7.0, 1.0, -5.0, 8.0],
    [1.0, -5.0, 1.0, 14.0, -7.0, 3.0],
    [-3.0, 7.0, -5.0, -7.0, 11.0, -5.0],
    [-1.0, -7.0, 8.0, 3.0, -5.0, 15.0],
]
A_SHORT_ROW = [[6.0, -0.005, -3.0], [-0.005, 1.1e-05, 0.0], [-3.0, 0.0, 9.0]]

CASES = [
    Case("one row", [[4.0]], {}, None, [1.0], [1.0]),
    Case(
        "two rows",
        [[1.0, -1.0], [-1.0, 2.0]],
        {},
        None,
        [0.999850044986504, 0.7499625056241563],
        [0.5, 0.5],
    ),
    Case(
        "two rows, preference",
        [[18.0, -22.0], [-22.0, 38.0]],
        {},
        [0.25, 0.75],
        [1.1663815701781668, 0.8947155156082263],
        [0.9163815701781668, 0.7500000000000001],
    ),
    Case("no conflict", [[2.0, 0.5], [0.5, 1.0]], {}, None, [0.5, 0.5], [0.5, 0.5]),
    Case(
        "below norm_eps", [[4e-05, -3e-05], [-3e-05, 5e-05]], {}, [0.3, 0.7], [0.3, 0.7], [0.3, 0.7]
    ),
    Case(
        "above a smaller norm_eps",
        [[4e-05, -3e-05], [-3e-05, 5e-05]],
        {"norm_eps": 1e-06},
        [0.3, 0.7],
        [0.8248819015721465, 0.8799676058309505],
        [0.5248819015721464, 0.7],
    ),
    Case(
        "zero",
        [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]],
        {},
        None,
        [0.33333333333333326, 0.33333333333333326, 0.33333333333333326],
        [0.33333333333333326, 0.33333333333333326, 0.33333333333333326],
    ),
    Case(
        "opposite rows",
        [[1.0, -1.0], [-1.0, 1.0]],
        {},
        None,
        [0.9999000199960006, 0.9999000199960008],
        [0.5, 0.5],
    ),
    Case(
        "three rows",
        [[6.0, -5.0, -3.0], [-5.0, 11.0, 0.0], [-3.0, 0.0, 9.0]],
        {},
        None,
        [0.9345412548324729, 0.606632552301809, 0.555427236486188],
        [0.44425193527249307, 0.3333333333333333, 0.3333333333333333],
    ),
    Case(
        "three rows, reg_eps 0.1",
        [[6.0, -5.0, -3.0], [-5.0, 11.0, 0.0], [-3.0, 0.0, 9.0]],
        {"norm_eps": 0.0, "reg_eps": 0.1},
        None,
        [0.6942397333860385, 0.5102538187958958, 0.4746305780560579],
        [0.3333333333333333, 0.3333333333333333, 0.33333333333333337],
    ),
    Case(
        "three rows, reg_eps 0",
        [[6.0, -5.0, -3.0], [-5.0, 11.0, 0.0], [-3.0, 0.0, 9.0]],
        {"reg_eps": 0.0},
        None,
        [0.9349593495934959, 0.60679970436068, 0.5555555555555556],
        [0.44444444444444436, 0.3333333333333333, 0.3333333333333333],
    ),
    Case(
        "a row of 1e-3",
        A_SHORT_ROW,
        {},
        None,
        [0.500752198451535, 1.9892519696285653, 0.44453698457598434],
        [0.3333333333333333, 1.1030214780562813, 0.33333333333333337],
    ),
    Case(
        "a row of 1e-3, reg_eps 1e-9",
        A_SHORT_ROW,
        {"reg_eps": 1e-09},
        [0.2, 0.5, 0.3],
        [0.44176307992322783, 200.80098932557078, 0.3668333332213889],
        [0.24126307992489446, 109.51569663366315, 0.3],
    ),
    Case(
        "singular",
        [
            [5.0, -4.0, 3.0, -4.0],
            [-4.0, 6.0, -8.0, 1.0],
            [3.0, -8.0, 13.0, 2.0],
            [-4.0, 1.0, 2.0, 5.0],
        ],
        {},
        None,
        [0.9807491981136418, 1.3538005598523795, 0.5620114314302838, 0.29344625057558205],
        [0.6058138887182205, 0.6952065759670962, 0.25, 0.25000000000000006],
    ),
    Case(
        "singular, preference",
        [
            [5.0, -4.0, 3.0, -4.0, 1.0],
            [-4.0, 6.0, -8.0, 1.0, 4.0],
            [3.0, -8.0, 13.0, 2.0, -9.0],
            [-4.0, 1.0, 2.0, 5.0, -5.0],
            [1.0, 4.0, -9.0, -5.0, 11.0],
        ],
        {"reg_eps": 0.001},
        [0.0, 0.4, 0.1, 0.3, 0.2],
        [
            1.043392495704579,
            0.7777073382866428,
            0.29971227892019975,
            0.8285826155050948,
            0.26732480005527576,
        ],
        [0.628657650924379, 0.4, 0.15335693032306938, 0.5571263379070195, 0.2],
    ),
    Case(
        "six rows",
        SIX_ROWS,
        {},
        None,
        [
            0.7932890292275018,
            0.943366323360344,
            0.6796617218377101,
            0.43236837802601746,
            0.3774289087892428,
            0.2520951710878847,
        ],
        [
            0.28403371562795054,
            0.3274489886723186,
            0.16666666666666666,
            0.16666666666666666,
            0.1666666666666666,
            0.16666666666666666,
        ],
    ),
    Case(
        "six rows, preference",
        SIX_ROWS,
        {"norm_eps": 1.0, "reg_eps": 0.01},
        [0.1, 0.3, 0.1, 0.2, 0.2, 0.1],
        [
            0.5837126381189226,
            0.701036249601935,
            0.5112467369109586,
            0.4120467681440303,
            0.37915224950571247,
            0.2082067357185563,
        ],
        [0.24717414370230703, 0.3, 0.19959201237759563, 0.2, 0.2, 0.1],
    ),
]


def wide(values):
    return None if values is None else torch.tensor(values, dtype=torch.float64)


@pytest.fixture
def inputs():
    return wide(COMBINATIONS), wide(GRAMIAN)


def close(found, expected):
    return float((found - expected).norm()) <= 1e-12 * float(expected.norm())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize(
    ("weighting", "reference"), [(UPGradWeighting, "upgrad"), (DualProjWeighting, "dualproj")]
)
def test_the_weights_are_those_of_torchjd_0_18(case, weighting, reference):
    weigh = weighting(wide(case.pref_vector), QuadprogProjector(**case.parameters))
    found = weigh(wide(case.gramian))
    assert found.dtype == torch.float64
    assert close(found, wide(getattr(case, reference)))


@pytest.mark.parametrize(
    ("dtype", "reg_eps", "reference"),
    [
        (
            torch.float16,
            1e-4,
            [
                [1.0, 0.454345703125, 0.333251953125],
                [0.99951171875, 1.0, 0.3330078125],
                [0.60302734375, 0.27392578125, 0.75],
            ],
        ),
        (
            torch.float32,
            1e-4,
            [
                [1.0, 0.45443806052207947, 0.33323708176612854],
                [0.999422550201416, 1.0, 0.3330446481704712],
                [0.6031509041786194, 0.27409473061561584, 0.75],
            ],
        ),
        (
            torch.float32,
            1e-2,
            [
                [1.0, 0.44404974579811096, 0.323974072933197],
                [0.9455231428146362, 1.0, 0.3063249886035919],
                [0.5569649934768677, 0.24732016026973724, 0.75],
            ],
        ),
    ],
)
def test_narrow_dtypes_round_as_in_torchjd_0_18(inputs, dtype, reg_eps, reference):
    found = QuadprogProjector(reg_eps=reg_eps)(*(tensor.to(dtype) for tensor in inputs))
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), wide(reference), rtol=torch.finfo(dtype).eps, atol=0)


def test_the_answer_is_of_the_dtype_of_the_gramian(inputs):
    U, G = inputs
    for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
        assert QuadprogProjector()(U, G.to(dtype)).dtype == dtype


def test_below_norm_eps_nothing_is_projected_and_bounds_are_lifted_to_zero():
    U = torch.tensor([[1.0, -1.0], [-2.0, 3.0]])
    G = torch.full((2, 2), 1e-5)
    assert QuadprogProjector()(U, G).tolist() == [[1.0, 0.0], [0.0, 3.0]]
    assert QuadprogProjector(norm_eps=2e-5)(U, G).tolist() != [[1.0, 0.0], [0.0, 3.0]]


def test_a_short_row_may_conflict_as_the_docstring_says():
    J = wide([[1.0, 0.0], [-1e-3, 1e-3]])
    conflict = J @ J.T @ UPGradWeighting(projector=QuadprogProjector())(J @ J.T)
    exact = J @ J.T @ UPGradWeighting()(J @ J.T)
    assert conflict[1] < -1e-8
    assert exact[1] > -1e-15


def test_the_powers_of_two_of_an_aggregator_change_nothing_above_norm_eps():
    J = wide([[1e-2, 2e-2, 0.0], [-3e-2, 1e-2, 1e-2], [1e-2, -2e-2, 1e-2]])
    projector = QuadprogProjector(norm_eps=0.0)
    weights = UPGradWeighting(projector=projector)(J @ J.T)
    torch.testing.assert_close(UPGrad(projector=projector)(J), weights @ J, rtol=1e-12, atol=0)


def test_leading_dimensions_are_a_loop():
    generator = torch.Generator().manual_seed(0)
    J = torch.randn(2, 3, 4, 5, generator=generator, dtype=torch.float64)
    U = torch.rand(2, 3, 6, 4, generator=generator, dtype=torch.float64)
    G = J @ J.mT
    projector = QuadprogProjector()
    together = projector.solve(U, G)
    for i, j in [(i, j) for i in range(2) for j in range(3)]:
        alone = projector.solve(U[i, j], G[i, j])
        assert torch.equal(together.weights[i, j], alone.weights)
        assert torch.equal(together.active[i, j], alone.active)


@pytest.mark.parametrize("shape", [(0, 3), (0, 2, 3), (2, 0, 3), (1, 0)])
def test_nothing_to_project(shape):
    G = torch.zeros(*shape[:-2], shape[-1], shape[-1])
    assert QuadprogProjector()(torch.zeros(shape), G).shape == shape


def test_what_solve_knows(inputs):
    U, G = inputs
    solved = QuadprogProjector().solve(
        U, G, start=torch.zeros(3, 3, dtype=torch.bool), certify=True
    )
    assert torch.equal(solved.weights, QuadprogProjector()(U, G))
    assert torch.equal(solved.active, solved.weights > U + 1e-9)
    assert solved.residual.primal.max() > 1e-6  # the regularisation shows
    assert QuadprogProjector(reg_eps=0).solve(U, G, certify=True).residual.primal.max() < 1e-14
    assert QuadprogProjector().solve(U, G).residual is None


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
@pytest.mark.parametrize("place", [(0, 0), (0, 1), (2, 1)])
def test_a_gramian_that_is_not_finite_gives_nan(inputs, bad, place):
    U, G = inputs
    both = torch.stack([G, G])
    both[0][place] = bad
    found = QuadprogProjector()(torch.stack([U, U]), both)
    assert found[0].isnan().all()
    assert torch.equal(found[1], QuadprogProjector()(U, G))


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_a_combination_that_is_not_finite_gives_nan_in_its_row(inputs, bad):
    U, G = inputs
    whole = QuadprogProjector()(U, G)
    U[1, 2] = bad
    found = QuadprogProjector()(U, G)
    assert found[1].isnan().all()
    assert torch.equal(found[[0, 2]], whole[[0, 2]])


def test_zero_divided_by_its_trace_is_nan_as_in_torchjd_0_18():
    assert QuadprogProjector(norm_eps=0)(torch.eye(2), torch.zeros(2, 2)).isnan().all()


def test_inputs_are_left_as_they_are_and_nothing_is_differentiated(inputs):
    U, G = (tensor.clone().requires_grad_() for tensor in inputs)
    assert not QuadprogProjector()(U, G).requires_grad
    assert torch.equal(U, inputs[0])
    assert torch.equal(G, inputs[1])


def test_a_gramian_that_stays_indefinite_is_refused():
    G = wide([[1.0, 2.0], [2.0, 1.0]])
    message = (
        r"^`reg_eps` must be large enough .* Got 0\.0001, .* not positive definite.* Increase it"
    )
    with pytest.raises(ValueError, match=message):
        QuadprogProjector()(wide([[1.0, 0.0]]), G)


@pytest.mark.parametrize(
    ("U", "G"),
    [((2, 3), (2, 2)), ((2,), (2, 2)), ((2, 2), (2, 2, 2)), ((2, 2), ()), ((3, 1, 2), (2, 2, 2))],
)
def test_shapes_that_do_not_fit_are_refused(U, G):
    with pytest.raises(ValueError, match=r"^`U` and `G` must have shapes"):
        QuadprogProjector()(torch.zeros(U), torch.zeros(G))


def test_a_gramian_of_integers_is_refused():
    with pytest.raises(TypeError, match=r"^`G` must have a real floating dtype. Got torch.int64"):
        QuadprogProjector()(torch.eye(2), torch.ones(2, 2, dtype=torch.int64))


@pytest.mark.parametrize("name", ["norm_eps", "reg_eps"])
@pytest.mark.parametrize(
    ("value", "error", "said"),
    [
        ("1e-4", TypeError, "must be a real number. Got str"),
        (None, TypeError, "must be a real number. Got NoneType"),
        (True, TypeError, "must be a real number. Got bool"),
        (-1e-9, ValueError, "must be finite and at least 0. Got -1e-09"),
        (NAN, ValueError, "must be finite and at least 0. Got nan"),
        (INF, ValueError, "must be finite and at least 0. Got inf"),
    ],
)
def test_parameters_are_checked_at_any_time(name, value, error, said):
    projector = QuadprogProjector()
    with pytest.raises(error, match=f"^`{name}` {said}"):
        QuadprogProjector(**{name: value})
    with pytest.raises(error, match=f"^`{name}` {said}"):
        setattr(projector, name, value)
    assert getattr(projector, name) == 1e-4


def test_parameters_can_be_changed(inputs):
    projector = QuadprogProjector()
    projector.norm_eps, projector.reg_eps = 0, 1e-2
    assert repr(projector) == "QuadprogProjector(norm_eps=0.0, reg_eps=0.01)"
    expected = QuadprogProjector(norm_eps=0, reg_eps=1e-2)(*inputs)
    for same in (projector, copy.deepcopy(projector), pickle.loads(pickle.dumps(projector))):
        assert torch.equal(same(*inputs), expected)


def test_it_is_a_projector_without_damping():
    assert isinstance(QuadprogProjector(), DualConeProjector)
    with pytest.raises(TypeError, match="damping"):
        QuadprogProjector(damping=0.1)


def test_without_quadprog_its_module_is_imported_and_the_remedy_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "quadprog", None)
    spec = find_spec(QuadprogProjector.__module__)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    for projector in (QuadprogProjector, module.QuadprogProjector):
        with pytest.raises(
            ImportError, match=r"`QuadprogProjector` needs .* `pip install quadprog`"
        ):
            projector()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_tensors_on_a_gpu_come_back_to_it(inputs):
    solved = QuadprogProjector().solve(*(tensor.cuda() for tensor in inputs))
    assert solved.weights.is_cuda
    assert solved.active.is_cuda
    assert torch.equal(solved.weights.cpu(), QuadprogProjector()(*inputs))
