"""Several processes: they find each other by what ``torchrun`` says in the environment."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from torch import distributed

from graphprune.cli.processes import join
from tests.cli.conftest import command, environment


@pytest.mark.parametrize("size", [None, "1"])
def test_one_process_is_the_first_and_joins_nothing(
    size: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    if size:
        monkeypatch.setenv("WORLD_SIZE", size)
    assert join() == 0
    assert not distributed.is_initialized()


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


@pytest.mark.slow
def test_of_two_processes_the_first_writes_and_shows(small: Sequence[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    args = command("compress", *small, "--flops", "0.5", "--no-onnx", "--json", "-o", out)
    place = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    running = [
        subprocess.Popen(
            args,
            env=environment() | place | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    said = [process.communicate(timeout=300)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0]
    assert json.loads(said[0])["budget"]["met"]
    assert said[1] == ""
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (out / "model.pt2").is_file()
