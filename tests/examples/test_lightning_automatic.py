import re


def test_lowers_both_losses(run_example):
    output, _ = run_example("lightning_automatic")

    falls = re.findall(r"goes from ([\d.]+) to ([\d.]+)", output)
    assert len(falls) == 2
    for first, last in falls:
        assert float(last) < 0.7 * float(first)


def test_shows_its_progress(run_example):
    output, _ = run_example("lightning_automatic")

    shown = re.findall(
        r"Epoch 19: 100%.*mileage=([\d.]+), acceleration=([\d.]+), jd/conflict_rate=([\d.]+)",
        output,
    )
    assert len(shown) >= 1
