"""Two tasks in float16, of which one has a loss a trillion times as large as the other.

The data are 1797 images of handwritten digits (shipped with scikit-learn). A network tells which
digit an image shows, and how much ink there is in it. The loss of the first task is multiplied by a
million and that of the second divided by a million, as if they were in different units.

float16 holds numbers from about 6e-8 to 65504. A stock ``torch.amp.GradScaler`` has one scale for
both losses: small enough for the first, it is too small for the second, whose gradients vanish on
the way to the shared parameters. A ``jd_amp.JacobianScaler`` has a scale for each. With
``--factor 1e4`` in place of a million, one scale is enough.

    python examples/mixed_precision.py
"""

import argparse
from collections.abc import Callable
from typing import NamedTuple

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.nn.functional import cross_entropy, mse_loss
from torch.optim import Adam

import jd_amp
from torchjd.aggregation import IMTLG
from torchjd.autojac import mtl_backward

TRAINING_IMAGES = 1200


def jacobian_scaler(device: str) -> jd_amp.JacobianScaler:
    # In a run of 300 steps, scales have to find their places quickly: so in larger strides.
    return jd_amp.JacobianScaler(
        device, growth_factor=16, backoff_factor=1 / 16, growth_interval=20
    )


class Precision(NamedTuple):
    """How a run computes, and what makes the scaler of its losses, if there is one."""

    dtype: torch.dtype
    make_scaler: Callable[[str], GradScaler] | None


PRECISIONS = {
    "float32": Precision(torch.float32, None),
    "bfloat16, no scaler": Precision(torch.bfloat16, None),
    "float16, GradScaler": Precision(torch.float16, GradScaler),
    "float16, JacobianScaler": Precision(torch.float16, jacobian_scaler),
}


class TwoTasks(nn.Module):
    """A trunk, and a head for each task."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU())
        self.digit_head, self.ink_head = nn.Linear(32, 10), nn.Linear(32, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the features, the scores of the digits, and the ink."""
        features = self.trunk(images)
        return features, self.digit_head(features), self.ink_head(features).squeeze(dim=1)


class Data(NamedTuple):
    """Images, which digits they show, and how much ink there is in them (mean 0, deviation 1)."""

    images: Tensor
    digits: Tensor
    ink: Tensor


class Setting(NamedTuple):
    """What a run computes its losses in, and by what they are multiplied and divided."""

    dtype: torch.dtype
    factor: float


class Result(NamedTuple):
    """What a run ended with.

    :ivar accuracy: The share of new images of which the digit is right.
    :ivar r2: Of the ink of new images, the share of the variance that is predicted.
    :ivar skipped: How many steps were skipped.
    :ivar cosines: For each task, of its gradient to that in float64, over the shared parameters.
    """

    accuracy: float
    r2: float
    skipped: int
    cosines: list[float]


def load() -> Data:
    raw = load_digits()
    images = torch.tensor(raw.data, dtype=torch.float32) / 16
    ink = images.mean(dim=1)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    return Data(
        images[order], torch.tensor(raw.target)[order], ((ink - ink.mean()) / ink.std())[order]
    )


def losses_of(model: TwoTasks, data: Data, setting: Setting) -> tuple[list[Tensor], Tensor]:
    """Return the losses of both tasks, and the features."""
    device = data.images.device.type
    half = setting.dtype in (torch.float16, torch.bfloat16)
    with torch.autocast(device, dtype=setting.dtype if half else None, enabled=half):
        features, scores, ink = model(data.images)
    scores, ink = scores.to(data.images.dtype), ink.to(data.images.dtype)
    digit_loss = cross_entropy(scores, data.digits) * setting.factor
    ink_loss = mse_loss(ink, data.ink) / setting.factor
    return [digit_loss, ink_loss], features


def differentiate(scaler: GradScaler | None, losses: list[Tensor], features: Tensor) -> None:
    """Write the ``.jac`` of the trunk and the ``.grad`` of the heads."""
    if isinstance(scaler, jd_amp.JacobianScaler):
        scaler.mtl_backward(losses, features)
    elif scaler is not None:
        mtl_backward([scaler.scale(loss) for loss in losses], features)
    else:
        mtl_backward(losses, features)


def rows(model: TwoTasks) -> Tensor:
    """Return the Jacobian in the ``.jac`` of the trunk, in float64, and take it away."""
    params = list(model.trunk.parameters())
    jacobian = torch.cat([p.jac.flatten(1).double() for p in params], dim=1)
    for parameter in params:
        parameter.jac = None
    return jacobian


def cosines(model: TwoTasks, scaler: GradScaler | None, data: Data, setting: Setting) -> Tensor:
    """Return for each task the cosine of its gradient to that in float64; 0 if it is all zeros."""
    differentiate(scaler, *losses_of(model, data, setting))
    found = rows(model)
    exact = TwoTasks().to(data.images.device, torch.float64)
    exact.load_state_dict(model.state_dict())
    wide = Data(data.images.double(), data.digits, data.ink.double())
    differentiate(None, *losses_of(exact, wide, Setting(torch.float64, setting.factor)))
    return torch.cosine_similarity(found, rows(exact), dim=1)


def train(precision: Precision, data: Data, device: str, factor: float, epochs: int = 15) -> Result:
    """Train on both tasks; return how well the network does on new images."""
    torch.manual_seed(0)
    setting = Setting(precision.dtype, factor)
    data = Data(*(tensor.to(device) for tensor in data))
    model = TwoTasks().to(device)
    scaler = None if precision.make_scaler is None else precision.make_scaler(device)
    # The gradients of the second head are tiny as well: smaller than what Adam adds by default.
    optimizer = Adam(model.parameters(), lr=3e-3, eps=1e-30)
    aggregator = IMTLG()
    skipped = 0
    for _ in range(epochs):
        for batch in torch.randperm(TRAINING_IMAGES).split(60):
            part = Data(*(tensor[batch.to(device)] for tensor in data))
            losses, features = losses_of(model, part, setting)
            before = model.digit_head.bias.detach().clone()

            optimizer.zero_grad()
            differentiate(scaler, losses, features)
            jd_amp.jac_to_grad(model.trunk.parameters(), aggregator, scaler=scaler)
            if scaler is None:
                optimizer.step()
            else:
                scaler.step(optimizer)
                scaler.update()
            skipped += torch.equal(before, model.digit_head.bias)

    new = Data(*(tensor[TRAINING_IMAGES:] for tensor in data))
    with torch.no_grad():
        _, scores, ink = model(new.images)
        accuracy = (scores.argmax(dim=1) == new.digits).float().mean()
        r2 = 1 - (ink - new.ink).square().mean() / new.ink.var()
    optimizer.zero_grad()
    return Result(
        float(accuracy), float(r2), skipped, cosines(model, scaler, part, setting).tolist()
    )


def main(device: str = "cpu") -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--factor", type=float, default=1e6, help="of one loss; divides the other")
    factor = parser.parse_args().factor
    torch.set_num_threads(1)  # the network is small: a second thread only waits
    data = load()
    print("                         digits   R2 of   steps    cosine to the gradient in float64")
    print("                         right    ink     skipped  digits   ink")
    for name, precision in PRECISIONS.items():
        result = train(precision, data, device, factor)
        print(
            f"{name:23}  {100 * result.accuracy:4.1f} %  {result.r2:6.3f}  {result.skipped:7}  "
            + "  ".join(f"{cosine:7.4f}" for cosine in result.cosines)
        )


if __name__ == "__main__":
    main()
