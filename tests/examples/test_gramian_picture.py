"""The parts of the picture of a Gramian."""

import pytest
import torch
from torch.testing import assert_close


@pytest.fixture(scope="module")
def gramian_picture(load_example):
    return load_example("gramian_picture")


@pytest.fixture(scope="module")
def C(gramian_picture):
    return gramian_picture.cosines(steps=3)


@pytest.mark.usefixtures("one_thread")
def test_cosines_are_those_of_vectors(C):
    C = C.double()

    assert C.shape == (120, 120)
    assert_close(C, C.T)
    assert_close(C.diagonal(), torch.ones(120).double(), atol=1e-5, rtol=0)
    assert torch.linalg.eigvalsh(C).min() > -1e-3


@pytest.mark.usefixtures("one_thread")
def test_means_leave_out_the_pair_of_an_image_with_itself(gramian_picture, C):
    each = gramian_picture.EACH

    means = gramian_picture.by_digit(C)

    assert_close(means[3, 5], C[3 * each : 4 * each, 5 * each : 6 * each].mean())
    block = C[7 * each :, 7 * each :][:each, :each]
    pairs = block[~torch.eye(each, dtype=torch.bool)]
    assert_close(means[7, 7], pairs.mean(), atol=1e-5, rtol=0)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("name", ["light", "dark"])
def test_draws_in_both_styles(gramian_picture, C, name, tmp_path):
    path = tmp_path / "picture.svg"

    gramian_picture.draw(C, gramian_picture.STYLES[name]).savefig(path, transparent=True)

    text = path.read_text()
    assert gramian_picture.STYLES[name].ink in text
    assert not any(s.ink in text for n, s in gramian_picture.STYLES.items() if n != name)
