"""Every script of ``examples/`` runs, and shows what it says it shows."""

import re

import pytest
from matplotlib.image import imread

PNG = b"\x89PNG\r\n\x1a\n"


def test_runs(example, run_example):
    output, _ = run_example(example)

    assert len(output.splitlines()) >= 2


def test_writes_the_picture_that_it_names_and_nothing_else(example, run_example):
    output, directory = run_example(example)

    named = re.findall(r"The picture is in (\S+)", output)
    assert [path.name for path in directory.iterdir()] == named
    for name in named:
        assert (directory / name).read_bytes().startswith(PNG)
        pixels = imread(directory / name)
        assert min(pixels.shape[:2]) >= 500
        assert 0.02 < (pixels[..., :3] < 0.9).any(axis=2).mean() < 0.8  # neither blank nor full


@pytest.mark.parametrize(
    "name", ["auto_mpg", "dual_cone", "gramian_picture", "new_digits", "two_objectives"]
)
def test_names_its_picture(name, run_example):
    output, _ = run_example(name)

    assert f"The picture is in {name}.png" in output


def test_auto_mpg_prints_no_rise_for_upgrad(run_example):
    output, _ = run_example("auto_mpg")

    row = next(line for line in output.splitlines() if "steps with a rise" in line)
    shares = [float(share) for share in re.findall(r"([\d.]+) %", row)]
    assert len(shares) == 4
    assert shares[0] > 0
    assert shares[1] == shares[3] == 0


def test_auto_mpg_speaks_of_cost(run_example):
    output, _ = run_example("auto_mpg")

    assert re.search(r"Standardising the targets helps (more|less) than UPGrad", output)
    assert re.search(r"A step of UPGrad took [\d.]+ times as long", output)


def test_new_digits_prints_both_learning_rates(run_example):
    output, _ = run_example("new_digits")

    rows = re.findall(r"(0\.[14]) +│ (mean|weights 4:1|UPGrad) ", output)
    assert len(rows) == len(set(rows)) == 6


def test_one_step_lowers_every_loss_only_with_upgrad(run_example):
    output, _ = run_example("one_step")

    mean, upgrad = output.split("UPGrad()")
    assert "RISES" in mean
    assert upgrad.count("falls") == 3
    assert "RISES" not in upgrad


def test_two_objectives_fall_all_the_way_only_with_upgrad(run_example):
    output, _ = run_example("two_objectives")

    shares = {
        name: [float(x) for x in re.findall(rf"{name} .*rose in +([\d.]+) %", output)]
        for name in ("mean", "UPGrad", "DualProj")
    }
    assert shares["UPGrad"] == [0, 0]
    assert min(shares["mean"]) > max(shares["DualProj"])


def test_dual_cone_prints_a_conflict_for_the_mean_only(run_example):
    output, _ = run_example("dual_cone")

    lines = {
        name: next(x for x in output.splitlines() if x.startswith(name))
        for name in ("Mean", "UPGrad", "DualProj")
    }
    along = {n: [float(x) for x in re.findall(r"\d: ([+-][\d.]+)", x)] for n, x in lines.items()}
    assert min(along["Mean"]) < 0
    assert min(along["UPGrad"]) > 0
    assert min(along["DualProj"]) == 0


def test_multi_task_learns_both_tasks(run_example):
    output, _ = run_example("multi_task")

    accuracies = [float(x) for x in re.findall(r"([\d.]+) % of (?:the digits|odd)", output)]
    assert len(accuracies) == 4
    assert min(accuracies) > 70


def test_instance_wise_learns(run_example):
    output, _ = run_example("instance_wise")

    losses = [float(x) for x in re.findall(r"training loss ([\d.]+)", output)]
    for run in (losses[0:4], losses[4:8], losses[8:12]):
        assert run[-1] < 0.6 * run[0]


def test_instance_wise_weighs_images_only_with_upgrad(run_example):
    output, _ = run_example("instance_wise")

    sums = [float(x) for x in re.findall(r"weights sum to ([\d.]+)", output)]
    assert sums[:8] == [1.0] * 8
    assert len(sums) == 12
    assert min(sums[8:]) > 1.1


def test_instance_wise_multi_task_makes_no_loss_worse_only_with_upgrad(run_example):
    output, _ = run_example("instance_wise_multi_task")

    shares = dict(re.findall(r"([\w ]+): a step makes ([\d.]+) % of the losses worse", output))
    assert float(shares["mean"]) > 10
    assert float(shares["UPGrad"]) == 0
    assert 0 < float(shares["UPGrad with a ridge"]) < float(shares["mean"])


def test_instance_wise_multi_task_predicts_every_target(run_example):
    output, _ = run_example("instance_wise_multi_task")

    r2 = [float(x) for x in re.findall(r"(?:mpg|horsepower|acceleration) (-?[\d.]+)", output)]
    assert len(r2) == 9
    assert min(r2) > 0


def test_gramian_picture_prints_blocks_and_conflicts(run_example):
    output, _ = run_example("gramian_picture")

    same, different = (float(x) for x in re.findall(r"digits?: ([+-][\d.]+) on average", output))
    assert same > 0.5 > 0.2 > abs(different)
    conflicts = float(re.search(r"([\d.]+) % of all pairs of images conflict", output)[1])
    assert 10 < conflicts < 90


def test_lightning_lowers_both_losses(run_example):
    output, _ = run_example("lightning_manual")

    falls = re.findall(r"goes from ([\d.]+) to ([\d.]+)", output)
    assert len(falls) == 2
    for first, last in falls:
        assert float(last) < 0.7 * float(first)
