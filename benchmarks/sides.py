"""The two environments that are compared, and how to ask a worker in one of them."""

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_HERE = Path(__file__).parent
OURS = Path(sys.executable)
DEFAULT_PEER = Path(".venv-peer/bin/python")
# Without PYTHONPATH and user packages: neither side may import the other's library. And without
# torch's remark that it loops over what it cannot batch: the times say it.
_OPTIONS = ("-E", "-s", "-W", "ignore:There is a performance drop")
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_REQUIREMENTS = ("torch==2.13.0", "torchjd[full]==0.18.0")


def peer_python(path: Path) -> Path:
    """Return ``path``, the interpreter of the peer's environment, if it is there.

    :raises SystemExit: If it is not; says how to make it.
    """
    if path.is_file():
        return path.absolute()  # not resolved: the link is what makes it a virtual environment
    raise SystemExit(
        f"The peer's environment was not found: no {path}. Its library has the import name of "
        "ours, so it lives apart. `hatch run bench` makes it; by hand:\n"
        "  python -m venv .venv-peer\n"
        f"  .venv-peer/bin/python -m pip install {' '.join(map(repr, _REQUIREMENTS))}\n"
        "or pass the python of another environment with `--peer PATH`."
    )


class Side:
    """A worker process in one environment.

    :param python: The interpreter.
    :param threads: How many threads torch and numpy use.
    :param worker: Which script of this folder it runs.
    """

    def __init__(self, python: Path, threads: int, worker: str = "worker.py") -> None:
        counts = dict.fromkeys(_THREADS, str(threads))
        self._process = subprocess.Popen(
            [str(python), *_OPTIONS, str(_HERE / worker), str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **counts},
        )

    def ask(self, question: str, **arguments: Any) -> Any:
        """Return the worker's answer.

        :raises RuntimeError: If the worker ended; its own message is on the standard error.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps({"ask": question, **arguments}), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(
                f"The worker of {self._process.args!r} ended while asked {question!r}."
            )
        return json.loads(line)

    def load(self, case: Any) -> None:
        """Have the worker build what the fields of ``case``, a dataclass, describe."""
        self.ask("load", **asdict(case))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
