"""Where records go: CSV files and summary writers."""

import csv
import gc

import pytest
import torch

from torchjd.monitor import CsvWriter, Record, Recorder, TensorBoardWriter

from .monitored import AGGREGATORS, INPUTS, inverse_square, rows


def lines(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def record(step=0, m=2, **given):
    names = given.pop("names", tuple("abcdefghijklmnopqrstuvwxyz"[:m]))
    matrix = rows(step, m)
    kept = {"scaled_gramian": matrix @ matrix.T, "weights": torch.linspace(1.0, 2.0, m)} | given
    return Record(step=step, names=names, **kept)


def expected(kept, *, pairs=True):
    """Return what the line of a record must say, by its columns."""
    found = {"step": kept.step, "conflict_rate": kept.conflict_rate}
    kinds = {
        "norm": kept.norms,
        "weight": kept.weights,
        "predicted_decrease": kept.predicted_decrease,
        "decrease": kept.decrease,
    }
    for kind, values in kinds.items():
        for i, name in enumerate(kept.names):
            found[f"{kind}/{name}"] = None if values is None else float(values[i])
    for j in range(len(kept.names)):
        for i in range(j):
            value = None if kept.cosines is None else float(kept.cosines[i, j])
            found[f"cosine/{kept.names[i]}/{kept.names[j]}"] = value
    return found


def assert_says(path, records):
    found = lines(path)
    assert len(found) == len(records)
    for line, kept in zip(found, records, strict=True):
        wanted = expected(kept)
        assert set(line) == set(wanted)
        for column, value in wanted.items():
            if value is None:
                assert line[column] == "", column
            else:
                assert float(line[column]) == pytest.approx(value, rel=1e-8, abs=1e-12, nan_ok=True)


def test_a_file_has_what_the_records_have(tmp_path):
    ones = torch.ones(2, dtype=torch.float64)
    records = [
        record(0),
        record(1, losses=ones, losses_after=0.5 * ones, learning_rate=0.1),
        record(2, weights=None),
        record(3, scaled_gramian=None),
        record(4, weights=None, products=ones, learning_rate=3.0),
        record(5, scale=torch.tensor(8.0, dtype=torch.float64)),
        record(6, scaled_gramian=torch.full((2, 2), torch.nan)),
        record(7, scaled_gramian=None, weights=None),
        *(record(step) for step in range(8, 200)),
    ]
    writer = CsvWriter(tmp_path / "run.csv")
    for kept in records:
        writer(kept)
    writer.close()
    assert_says(tmp_path / "run.csv", records)
    header = (tmp_path / "run.csv").read_text().splitlines()[0]
    assert header == (
        "step,conflict_rate,norm/a,norm/b,weight/a,weight/b,"
        "predicted_decrease/a,predicted_decrease/b,decrease/a,decrease/b,cosine/a/b"
    )


@pytest.mark.parametrize("name", AGGREGATORS)
def test_a_recorder_writes_a_file(tmp_path, name):
    aggregator, path = AGGREGATORS[name](), tmp_path / "run.csv"
    with Recorder(
        aggregator, names=["a,b", 'say "c"', "é"], every=1, to=CsvWriter(path)
    ) as recorder:
        for seed in range(70):
            aggregator(rows(seed), **INPUTS)
            if seed % 3 == 0:
                recorder.measure([1.0, 2.0, 3.0], [3.0, 2.0, 1.0])
    assert_says(path, recorder.records)


def test_lines_are_written_in_blocks(tmp_path):
    path = tmp_path / "run.csv"
    with CsvWriter(path) as writer:
        for step in range(64):
            assert len(path.read_text().splitlines()) == min(step, 1)
            writer(record(step))
        assert len(path.read_text().splitlines()) == 65
        writer(record(64))
        writer.flush()
        assert len(path.read_text().splitlines()) == 66
        writer(record(65))
    assert len(path.read_text().splitlines()) == 67
    writer.close()  # once more is no harm
    with pytest.raises(RuntimeError, match=r"`CsvWriter` must be open to take a record"):
        writer(record(66))


def test_a_writer_that_is_dropped_writes_its_lines(tmp_path):
    writer = CsvWriter(tmp_path / "run.csv")
    writer(record())
    del writer
    gc.collect()
    assert_says(tmp_path / "run.csv", [record()])


@pytest.mark.parametrize(
    ("m", "pairs", "n"), [(16, None, 120), (17, None, 0), (17, True, 136), (3, False, 0)]
)
def test_pairs(tmp_path, m, pairs, n):
    with CsvWriter(tmp_path / "run.csv", pairs=pairs) as writer:
        writer(record(0, m))
    (line,) = lines(tmp_path / "run.csv")
    assert sum(column.startswith("cosine/") for column in line) == n
    assert len(line) == 2 + 4 * m + n
    assert float(line["norm/a"]) == pytest.approx(float(record(0, m).norms[0]), rel=1e-8)


def test_a_file_that_exists_is_not_touched_unless_asked(tmp_path):
    path = tmp_path / "run.csv"
    with CsvWriter(path) as writer:
        writer(record(0))
    with pytest.raises(FileExistsError, match=r"`path` must not exist yet.*`append=True`"):
        CsvWriter(path)
    with CsvWriter(path, append=True) as writer:
        writer(record(1))
    assert_says(path, [record(0), record(1)])
    before = path.read_text()
    refused = pytest.raises(ValueError, match=r"`path` must have the columns.*begins with 'step,")
    with CsvWriter(path, append=True) as writer, refused:
        writer(record(2, 3))
    assert path.read_text() == before
    with pytest.raises(FileNotFoundError, match=r"missing"):
        CsvWriter(tmp_path / "missing" / "run.csv")
    with CsvWriter(tmp_path / "new.csv", append=True) as writer:
        writer(record(0))
    assert_says(tmp_path / "new.csv", [record(0)])


def test_any_string_is_a_name(tmp_path):
    names = ("a,b", "c\nd", "e\rf", "g\r\nh", 'i"j', "k/l", " ", "é", "")
    for step in range(2):
        with CsvWriter(tmp_path / "run.csv", append=step > 0) as writer:
            writer(record(step, len(names), names=names))
    assert_says(tmp_path / "run.csv", [record(step, len(names), names=names) for step in range(2)])


def test_a_line_that_was_cut_off_stays_a_line(tmp_path):
    path = tmp_path / "run.csv"
    with CsvWriter(path) as writer:
        writer(record(0))
        writer(record(1))
    path.write_bytes(path.read_bytes()[:-9])
    with CsvWriter(path, append=True) as writer:
        writer(record(2))
    first, cut_off, last = path.read_text().splitlines()[1:]
    assert [line.partition(",")[0] for line in (first, cut_off, last)] == ["0", "1", "2"]
    assert first.count(",") == last.count(",")


def test_other_objectives_are_refused(tmp_path):
    aggregator = inverse_square()
    with CsvWriter(tmp_path / "run.csv") as writer, Recorder(aggregator, to=writer) as recorder:
        aggregator(rows())
        recorder.measure([0.0] * 3, [1.0] * 3)
        aggregator(rows(m=2))
        with pytest.raises(ValueError, match=r"`names` must be those of the first .*at step 1"):
            recorder.measure([0.0] * 2, [1.0] * 2)
    assert len(lines(tmp_path / "run.csv")) == 1


class Summary:
    """Keeps what a summary writer is given."""

    def __init__(self):
        self.scalars, self.figures, self.flushed = {}, [], False

    def add_scalar(self, tag, value, step):
        assert isinstance(value, float)
        self.scalars[tag, step] = value

    def add_figure(self, tag, figure, step):
        self.figures.append((tag, step))

    def flush(self):
        self.flushed = True


def test_a_summary_writer_gets_scalars():
    summary, aggregator = Summary(), inverse_square()
    with Recorder(aggregator, to=TensorBoardWriter(summary, prefix="run/jd")) as recorder:
        aggregator(rows())
        recorder.measure([1.0, 2.0, 3.0], [3.0, 2.0, 1.0])
        aggregator(rows(1))
    first, second = recorder.records
    assert summary.scalars["run/jd/conflict_rate", 0] == first.conflict_rate
    assert summary.scalars["run/jd/decrease/0", 0] == 2.0
    for step, kept in enumerate((first, second)):
        for i in range(3):
            assert summary.scalars[f"run/jd/norm/{i}", step] == float(kept.norms[i])
            assert summary.scalars[f"run/jd/weight/{i}", step] == float(kept.weights[i])
            predicted = summary.scalars[f"run/jd/predicted_decrease/{i}", step]
            assert predicted == float(kept.predicted_decrease[i])
    assert len(summary.scalars) == 2 * 10 + 3
    assert summary.flushed
    assert summary.figures == []


def test_a_summary_writer_needs_only_what_is_used():
    class Scalars:
        def add_scalar(self, tag, value, step):
            found.append(tag)

    found = []
    TensorBoardWriter(Scalars())(record(0, scaled_gramian=None))
    assert found == ["jd/weight/a", "jd/weight/b"]
    with pytest.raises(TypeError, match=r"`summary_writer` must have .*`add_figure`.*Scalars"):
        TensorBoardWriter(Scalars(), figure_every=1)
    with pytest.raises(TypeError, match=r"`summary_writer` must have a method `add_scalar`.* str"):
        TensorBoardWriter("runs")
    with pytest.raises(ValueError, match=r"`figure_every` must be at least 1. Got 0"):
        TensorBoardWriter(Summary(), figure_every=0)


def test_a_summary_writer_gets_figures():
    pytest.importorskip("matplotlib")
    summary = Summary()
    writer = TensorBoardWriter(summary, figure_every=2)
    for step in range(5):
        writer(record(step))
    assert summary.figures == [("jd/cosines", 0), ("jd/cosines", 2), ("jd/cosines", 4)]
