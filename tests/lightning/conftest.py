from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer

HERE = Path(__file__).parent

# What Lightning says of every small fit; and of itself, on a torch that is newer than it.
FILTERS = (
    r"ignore:.*LeafSpec:FutureWarning",
    r"ignore:.*does not have many workers:",
    r"ignore:GPU available but not used:",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            for message in FILTERS:
                item.add_marker(pytest.mark.filterwarnings(message))


@pytest.fixture(autouse=True)
def same_seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def trainer(tmp_path: Path) -> Callable[..., Trainer]:
    """Make a trainer that says and writes nothing but what it is asked for."""

    def make(**options: Any) -> Trainer:
        quiet: dict[str, Any] = {
            "accelerator": "cpu",
            "default_root_dir": tmp_path,
            "enable_checkpointing": False,
            "enable_model_summary": False,
            "enable_progress_bar": False,
            "logger": False,
            "max_epochs": 1,
        }
        return Trainer(**{**quiet, **options})

    return make
