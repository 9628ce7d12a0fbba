"""A few runs of each fault; `python -m tests.fuzz.faults kill 200` does as many as one likes."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

if sys.platform != "linux":
    pytest.skip("forks, and looks at /proc", allow_module_level=True)

from tests.cli.conftest import environment
from tests.fuzz.faults import FAULTS, Place, _judged
from tests.sources import ROOT

TIMES = {"kill": 12, "memory": 6, "two-runs": 3, "clock": 2, "read-only": 1}
SMALL_DISK = 'mount -t tmpfs -o size=12m tmpfs "$0" && exec "$@" --folder "$0"'


def unshared() -> list[str]:
    """What runs a command where it may mount things, if there is such a thing."""
    call = ["unshare", "--user", "--map-root-user", "--mount"]
    if not shutil.which(call[0]) or subprocess.run([*call, "true"], check=False).returncode:
        pytest.skip("no right to mount a small file system")
    return call


@pytest.mark.slow
@pytest.mark.parametrize("kind", FAULTS)
def test_the_old_output_or_the_new_one(kind: str, tmp_path: Path) -> None:
    times = str(TIMES.get(kind, 4))
    call = [sys.executable, "-m", "tests.fuzz.faults", kind, times]
    if kind == "full-disk":
        call = [*unshared(), "sh", "-c", SMALL_DISK, str(tmp_path), *call]
    done = subprocess.run(
        call, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False, timeout=900
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert f"\n{kind}: {times} runs" in f"\n{done.stdout}"


class TestJudge:
    """That the judge finds what is wrong."""

    @pytest.fixture
    def place(self, tmp_path: Path) -> Place:
        place = Place(tmp_path)
        for budget in ("0.7", "0.4"):
            place.out.mkdir(exist_ok=True)
            for name in ("model.pt", "plan.json"):
                (place.out / name).write_text(budget)
            place.allowed[budget] = place.digest()
        (tmp_path / "messages").write_text("")
        return place

    def test_new_and_old(self, place: Place) -> None:
        assert _judged(place, "0.4", 0, {0}, clean=True) == {"exit code 0": 1, "new": 1}
        assert _judged(place, "0.7", 2, {0, 2}, clean=True) == {"exit code 2": 1, "old": 1}

    @pytest.mark.parametrize("change", ["mixed", "truncated", "missing", "more"])
    def test_half_an_output(self, place: Place, change: str) -> None:
        file = place.out / "model.pt"
        match change:
            case "mixed":
                file.write_text("0.7")
            case "truncated":
                file.write_text("0")
            case "missing":
                file.unlink()
            case _:
                (place.out / "report.json").touch()
        with pytest.raises(AssertionError, match="half an output"):
            _judged(place, "0.4", -9, {-9}, clean=False)

    def test_a_lie(self, place: Place) -> None:
        with pytest.raises(AssertionError, match="said to be done"):
            _judged(place, "0.7", 0, {0}, clean=True)

    def test_an_exit_code_that_must_not_be(self, place: Place) -> None:
        with pytest.raises(AssertionError, match="exit code 3"):
            _judged(place, "0.7", 3, {0, 2}, clean=True)

    def test_what_is_left(self, place: Place) -> None:
        name = f".out.partial-{random.Random(0).getrandbits(32):08x}"
        (place.folder / name).touch()
        counts = _judged(place, "0.7", -9, {-9}, clean=False)
        assert counts["temporary files left"] == 1
        with pytest.raises(AssertionError, match="left behind"):
            _judged(place, "0.7", 2, {2}, clean=True)
        (place.folder / "messages").write_text(f"can't remove the temporary {name}")
        assert _judged(place, "0.7", 2, {2}, clean=True)["old"] == 1
