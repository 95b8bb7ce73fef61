"""Lightning's own command line: methods by name, those of plugins included."""

import json
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
import torch
import yaml
from torch import Tensor

from torchjd.aggregation import Aggregator, GramianWeightedAggregator, GramianWeighting, Weighting

from .nets import TwoTasks, assert_same, largest_difference, loader

pytest.importorskip("jsonargparse", reason="an optional dependency")
from lightning.pytorch.cli import LightningCLI

pytestmark = [
    # Lightning calls what jsonargparse is about to drop.
    pytest.mark.filterwarnings("ignore:(?s).*(JSONARGPARSE_DEPRECATION|was deprecated in v4)"),
    pytest.mark.filterwarnings("ignore:.*LightningCLI's args parameter"),
]


class LeaningWeighting(GramianWeighting):
    """Weights of one's own."""

    def __init__(self, lean: float = 0.5, preference: Tensor | None = None) -> None:
        super().__init__()
        self.lean, self.preference = lean, preference

    def forward(self, gramian: Tensor, /) -> Tensor:
        if self.preference is not None:
            return self.preference.to(gramian)
        return gramian.new_tensor([self.lean, 1.0 - self.lean])


class Leaning(GramianWeightedAggregator):
    """A method of one's own, with settings."""

    def __init__(self, lean: float = 0.5, preference: Tensor | None = None) -> None:
        super().__init__(LeaningWeighting(lean, preference))
        self.lean, self.preference = lean, preference


class Net(TwoTasks):
    def __init__(self, aggregator: Aggregator, weighting: Weighting | None = None) -> None:
        super().__init__()
        self.aggregator, self.weighting = aggregator, weighting

    def configure_aggregator(self):
        return self.aggregator

    def train_dataloader(self):
        return loader()


def ask(*args, run=False):
    shown = {"trainer_defaults": {"logger": False, "enable_checkpointing": False}}
    return LightningCLI(Net, run=run, args=list(args), seed_everything_default=False, **shown)


def configured(tmp_path, text):
    path = tmp_path / "config.yaml"
    path.write_text(dedent(text))
    return ask(f"--config={path}")


WAYS = {
    "name": "Leaning",
    "class path": f"{__name__}.Leaning",
    "name with settings": "{class_path: Leaning, init_args: {lean: 0.25}}",
    "class path with settings": f"{{class_path: {__name__}.Leaning, init_args: {{lean: 0.25}}}}",
}


@pytest.mark.parametrize("way", WAYS)
def test_an_aggregator_of_ones_own(tmp_path, way):
    found = configured(tmp_path, f"model: {{aggregator: {WAYS[way]}}}").model.aggregator
    assert type(found) is Leaning
    assert found.lean == (0.25 if "settings" in way else 0.5)


def test_on_the_command_line():
    model = ask(
        "--model.aggregator=Leaning",
        "--model.aggregator.lean=0.75",
        "--model.weighting=LeaningWeighting",
    ).model
    assert (type(model.aggregator), model.aggregator.lean) == (Leaning, 0.75)
    assert type(model.weighting) is LeaningWeighting


def test_a_tensor_is_given_as_a_list():
    listed = ask("--model.aggregator=Leaning", "--model.aggregator.preference=[1, 0.1]")
    found = listed.model.aggregator.preference
    torch.testing.assert_close(found, torch.tensor([1.0, 0.1]))
    again = yaml.safe_load(listed.parser.dump(listed.config))["model"]["aggregator"]
    assert torch.equal(torch.tensor(again["init_args"]["preference"]), found)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("[[1, 2], [3]]", "expected sequence of length 2"),
        ("much", "A tensor must be given as a list of numbers. Got 'much'."),
    ],
)
def test_what_is_no_tensor_is_refused(capsys, given, message):
    with pytest.raises(SystemExit, match="2"):
        ask("--model.aggregator=Leaning", f"--model.aggregator.preference={given}")
    assert message in capsys.readouterr().err


def test_what_is_there_is_listed_in_the_help(capsys):
    with pytest.raises(SystemExit, match="0"):
        ask("--help")
    assert f"{__name__}.Leaning" in "".join(capsys.readouterr().out.split())


def test_a_wrong_kind_is_refused(capsys):
    with pytest.raises(SystemExit, match="2"):
        ask(f"--model.aggregator={__name__}.LeaningWeighting")
    assert "LeaningWeighting" in capsys.readouterr().err


def test_what_is_saved_gives_the_same_run_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    quiet = ["--trainer.max_epochs=1", "--trainer.enable_progress_bar=false"]
    quiet += ["--trainer.accelerator=cpu", "--trainer.logger=CSVLogger"]
    quiet += ["--trainer.logger.save_dir=logs", "--trainer.log_every_n_steps=1"]
    quiet += ["--trainer.enable_model_summary=false"]
    method = ["--model.aggregator=Leaning", "--model.aggregator.preference=[0.9, 0.1]"]
    first = ask("fit", *quiet, *method, run=True)
    (saved,) = Path("logs").rglob("config.yaml")
    second = ask("fit", f"--config={saved}", run=True)
    assert_same(second.model, first.model)
    assert largest_difference(first.model, TwoTasks()) > 0.01
    assert second.model.aggregator.preference.tolist() == pytest.approx([0.9, 0.1])


def test_discovered_methods(tmp_path):
    pytest.importorskip("jd_aggregators")
    from torchjd.aggregation import UPGrad, UPGradWeighting
    from torchjd.linalg import ExactProjector

    cli = configured(
        tmp_path,
        """
        model:
          aggregator:
            class_path: UPGrad
            init_args:
              pref_vector: [1, 2]
              projector: {class_path: ExactProjector, init_args: {damping: 1e-3}}
          weighting: torchjd.aggregation.UPGradWeighting
        """,
    )
    found = cli.model.aggregator
    assert type(found) is UPGrad
    assert type(found.projector) is ExactProjector
    assert (found.pref_vector.tolist(), found.projector.damping) == ([1.0, 2.0], 0.001)
    assert type(cli.model.weighting) is UPGradWeighting
    saved = cli.parser.dump(cli.config, skip_none=False)
    assert repr(configured(tmp_path, saved).model.aggregator) == repr(found)


STRANGER = """
import torch
from torchjd.aggregation import Aggregator, GramianWeighting
from torchjd.plugins import hookimpl

class Plain(Aggregator):
    def __init__(self, factor: float = 1.0):
        super().__init__()
        self.factor = factor

    def forward(self, matrix, /):
        return self.factor * matrix.sum(dim=0)

class Twin(Plain):
    pass

class PlainWeighting(GramianWeighting):
    def forward(self, gramian, /):
        return torch.ones(len(gramian))
"""

ENTRY = """
from torchjd.plugins import hookimpl

@hookimpl
def torchjd_aggregators():
    return {names!r}
"""

# distribution -> what it offers, of the one module
DISTS = {
    "stranger": {
        "Plain": "strange:Plain",
        "PlainWeighting": "strange:PlainWeighting",
        "Renamed": "strange:Plain",
        "Twin": "strange:Twin",
        "Lost": "a_module_that_is_not_there:Lost",
    },
    "rival": {"Twin": "strange:Twin"},
}

SCRIPT = """
import contextlib, io, json, sys, warnings

from jd_lightning import JDModule
from torchjd.aggregation import Aggregator, Weighting

isinstance(3, Aggregator)
seen = {"imported early": "strange" in sys.modules}

class Net(JDModule):
    def __init__(self, aggregator: Aggregator, weighting: Weighting | None = None):
        super().__init__()
        self.aggregator, self.weighting = aggregator, weighting

from lightning.pytorch.cli import LightningCLI

def ask(args):
    error = io.StringIO()
    try:
        with contextlib.redirect_stderr(error):
            found = LightningCLI(Net, run=False, args=args, seed_everything_default=False).model
    except SystemExit:
        return error.getvalue()
    used = found.weighting or found.aggregator
    return [type(used).__module__, type(used).__name__, getattr(used, "factor", None)]

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    seen |= {" ".join(args): ask(args) for args in json.loads(sys.argv[1])}
said = [str(w.message) for w in caught if w.category.__name__ == "PluginWarning"]
print(json.dumps([seen, said]))
"""

OPTION = "--model.aggregator="
ASKED = [
    [f"{OPTION}Plain"],
    [f"{OPTION}Plain", f"{OPTION[:-1]}.factor=2"],
    [f"{OPTION}torchjd.aggregation.Plain"],
    [f"{OPTION}torchjd.aggregation.Renamed"],
    [f"{OPTION}Plain", "--model.weighting=PlainWeighting"],
    [f"{OPTION}Twin"],
    [f"{OPTION}torchjd.aggregation.Twin"],
    [f"{OPTION}torchjd.aggregation.Lost"],
    [f"{OPTION}torchjd.aggregation.Plian"],
]


@pytest.fixture(scope="module")
def with_a_stranger(tmp_path_factory):
    """Return what a process sees in which a stranger's plugins are installed, and the warnings."""
    site = tmp_path_factory.mktemp("site")
    (site / "strange.py").write_text(STRANGER)
    for dist, names in DISTS.items():
        (site / f"_{dist}.py").write_text(ENTRY.format(names=names))
        info = site / f"{dist}-1.0.dist-info"
        info.mkdir()
        info.joinpath("METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist}\nVersion: 1.0\n")
        info.joinpath("entry_points.txt").write_text(f"[torchjd]\n{dist} = _{dist}\n")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TORCHJD_")}
    ran = subprocess.run(
        [sys.executable, "-P", "-c", SCRIPT, json.dumps(ASKED)],
        env=environment | {"PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout.splitlines()[-1])


FOUND = [["Plain", 1.0], ["Plain", 2.0], ["Plain", 1.0], ["Plain", 1.0], ["PlainWeighting", None]]


@pytest.mark.parametrize(("asked", "expected"), list(zip(ASKED, FOUND, strict=False)))
def test_the_methods_of_a_strangers_plugin(with_a_stranger, asked, expected):
    seen, _ = with_a_stranger
    assert seen[" ".join(asked)] == ["strange", *expected]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("torchjd.aggregation.Twin", "offered by 2 plugins"),
        ("torchjd.aggregation.Lost", "No module named 'a_module_that_is_not_there'"),
        ("torchjd.aggregation.Plian", "Did you mean `Plain`?"),
    ],
)
def test_what_cannot_be_had_says_why(with_a_stranger, name, message):
    seen, _ = with_a_stranger
    assert message in seen[f"{OPTION}{name}"]


def test_what_cannot_be_had_is_reported_once(with_a_stranger):
    _, said = with_a_stranger
    for message in ("offered by 2 plugins", "No module named 'a_module_that_is_not_there'"):
        assert sum(message in line for line in said) == 1


def test_plugins_are_not_imported_for_those_who_use_no_command_line(with_a_stranger):
    seen, _ = with_a_stranger
    assert seen["imported early"] is False
