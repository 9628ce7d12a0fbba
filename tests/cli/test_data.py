"""``--data`` and what belongs to it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import graphprune as gp
from graphprune.models import digits
from tests.cli.conftest import DIGITS, Ran, expect

Cli = Callable[..., Ran]

MEAN, STD = 0.305, 0.376
"""Of the pixels of digits, as the network was trained on them."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for number in range(12):
        pixels = rng.integers(0, 256, (10, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"{number}.png")
    (root / "broken.png").write_bytes(b"")
    return root


def test_images(cli: Cli, small: Sequence[str], folder: Path) -> None:
    found = cli(
        "compress",
        *small,
        "--flops",
        "0.5",
        "--dry-run",
        "--json",
        "--data",
        folder,
        "--mean",
        "0.5",
        "--std",
        "0.2,0.2,0.3",
        "--image-size",
        "8",
        "--crop",
        "0.875",
        "--interpolation",
        "bicubic",
        "--samples",
        "20",
    )
    assert found.code == 0, found.err
    report = json.loads(found.out)
    assert report["calibration"] == {
        "source": f"12 of 13 images in {folder.name}",
        "samples": 12,
        "skipped": 1,
    }
    assert "unreadable files among the calibration data, skipped: 1" in report["notes"]


def test_plan_takes_data_too(cli: Cli, small: Sequence[str], folder: Path) -> None:
    found = cli("plan", *small, "--flops", "0.5", "--data", folder, "--score", "l1")
    assert found.code == 0, found.err
    assert json.loads(found.out)["format"].startswith("graphprune.plan/")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--mean", "0.5"], "--seed need --data, --val or --train"),
        (["--data", ".", "--mean", "half"], "can't read --mean 'half'"),
        (["--data", ".", "--image-size", "8,8,8"], "can't read --image-size '8,8,8'"),
        (["--data", "nowhere"], "no such file: nowhere"),
        (["--data", "nowhere:at_all"], "can't find nowhere:at_all"),
        (["--data", ".", "--image-size", "16"], "has no images"),
        (["--crop", "0.875"], "--seed need --data, --val or --train"),
        (["--data", ".", "--interpolation", "cubic"], "no interpolation 'cubic'"),
        (["--data", ".", "--crop", "0"], "crop must be above 0 and at most 1, not 0"),
        (["--data", "x.npz", "--crop", "0.9"], "crop and interpolation are for images"),
        (
            ["--data", "x.npz", "--image-size", "16"],
            "mean, std, image size, crop and interpolation are for images",
        ),
    ],
)
def test_wrong_data(
    cli: Cli,
    small: Sequence[str],
    tmp_path: Path,
    options: list[str],
    says: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    found = cli("compress", *small, "--flops", "0.5", "-o", tmp_path / "out", *options)
    assert found.code == 2
    assert found.err.startswith("error[GP0")
    assert says in found.err
    assert list(tmp_path.iterdir()) == []


def test_distil(cli: Cli, small: Sequence[str], folder: Path, tmp_path: Path) -> None:
    given = ("compress", *small, "--flops", "0.5", "--no-onnx", "-o", tmp_path / "out")
    data = ("--data", folder, "--mean", "0.5", "--std", "0.2")
    found = cli(*given, *data, "--distil", "3", "--augment", "flip,crop", "--json")
    assert found.code == 0, found.err
    report = json.loads(found.out)
    assert report["distilled"]["steps"] == 3
    assert report["distilled"]["after"] <= report["distilled"]["before"]
    assert "distil" in report["seconds"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    spelt = cli(*given, *data, "--distill", "2", "--force")
    assert "distilled: 2 steps" in spelt.out


@pytest.mark.onnx
def test_what_was_recovered_is_verified_with_its_own_weights(
    cli: Cli, small: Sequence[str], folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    made = cli(
        "compress",
        *small,
        "--flops",
        "0.5",
        "-o",
        out,
        "--data",
        folder,
        "--mean",
        "0.5",
        "--std",
        "0.2",
    )
    assert made.code == 0, made.err
    plain = cli("verify", *small, out)
    assert plain.code == 1
    assert "--retrained" in plain.out
    found = cli("verify", *small, out, "--retrained", "--json")
    assert found.code == 0, found.err
    document = json.loads(found.out)
    assert document["ok"]
    assert document["retrained"]
    assert document["own_weights"] > 0
    # The files must hold the same weights, and keep what the plan says.
    other = tmp_path / "other"
    assert cli("compress", *small, "--flops", "0.5", "-o", other).code == 0
    (out / "model.onnx").write_bytes((other / "model.onnx").read_bytes())
    assert cli("verify", *small, out, "--retrained").code == 1
    alone = cli("verify", *small, other / "model.onnx", "--retrained")
    assert alone.code == 2
    assert "alone can't be compared" in alone.err


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--distil", "5m"], "--distil needs --data"),
        (["--augment", "flip"], "--augment needs --distil"),
    ],
)
def test_wrong_distillation(cli: Cli, small: Sequence[str], options: list[str], says: str) -> None:
    found = cli("compress", *small, "--flops", "0.5", "--dry-run", *options)
    assert found.code == 2
    assert says in found.err


@pytest.mark.parametrize("options", [["--distil", "soon"], ["--distil", "5", "--augment", "blur"]])
def test_wrong_effort(cli: Cli, small: Sequence[str], folder: Path, options: list[str]) -> None:
    found = cli("compress", *small, "--flops", "0.5", "--dry-run", "--data", folder, *options)
    assert found.code == 2
    assert found.err.startswith("error[GP010]: ")


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits, and the classes that the trained network gives them."""
    images, labels = digits.load_data()[1]
    path = tmp_path_factory.mktemp("val") / "val.npz"
    np.savez(path, x=images[:200].numpy(), y=labels[:200].numpy())
    return path


def test_max_drop(cli: Cli, labelled: Path, tmp_path: Path) -> None:
    found = cli(
        "compress",
        *DIGITS,
        "--max-drop",
        "10%",
        "--val",
        labelled,
        "--no-onnx",
        "-o",
        tmp_path / "out",
    )
    assert found.code == 0, found.err
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    search, reached = report["search"], report["after"]["macs"] / report["before"]["macs"]
    holding = [probe for probe in search["probes"] if probe["holds"]]
    assert reached == min(probe["cost"] for probe in holding) < 1
    assert all(search["dense"] - probe["accuracy"] <= 0.1 for probe in holding)
    assert any(not probe["holds"] for probe in search["probes"])
    assert found.err.count("budget ") == len(search["probes"]) == found.out.count("  drop ")
    images, labels = (torch.from_numpy(x) for x in np.load(labelled).values())
    assert digits.evaluate(gp.load(tmp_path / "out"), images, labels) == search["accuracy"]


def test_no_network_holds(cli: Cli, tmp_path: Path) -> None:
    images = digits.load_data()[1].images[:40]
    with torch.no_grad():
        classes = digits.build()(images).argmax(1)  # of another network: chance
    np.savez(tmp_path / "val.npz", x=images.numpy(), y=(classes + 1).numpy() % 10)
    found = cli(
        "compress",
        *DIGITS,
        "--max-drop",
        "0",
        "--val",
        tmp_path / "val.npz",
        "-q",
        "--protect",
        "*",
        "-o",
        tmp_path / "out",
    )
    assert found.code == 1
    assert "error[GP006]: no smaller network was found" in found.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--max-drop", "1%"], "--max-drop needs --val"),
        (["--val", "x.npz", "--flops", "0.5"], "--val needs --max-drop"),
        (["--max-drop", "1%", "--val", "x.npz", "--flops", "0.5"], "leave out --flops"),
        (["--max-drop", "much", "--val", "x.npz"], "can't read 'much'"),
        (["--max-drop", "1%", "--val", "nowhere.npz"], "no such file"),
    ],
)
def test_wrong_search(cli: Cli, options: list[str], says: str) -> None:
    found = cli("compress", *DIGITS, "--dry-run", *options)
    assert found.code == 2
    assert says in found.err


@pytest.fixture(scope="module")
def class_folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits as images, in folders that are called by their class."""
    images, labels = digits.load_data()[0]
    path = tmp_path_factory.mktemp("train")
    for number, (image, label) in enumerate(zip(images[:240], labels[:240], strict=True)):
        folder = path / f"{int(label)}"
        folder.mkdir(exist_ok=True)
        pixels = (255 * (image[0] * STD + MEAN)).round().clamp(0, 255).byte().numpy()
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return path


def test_finetune(cli: Cli, class_folders: Path, tmp_path: Path) -> None:
    given = ("compress", *DIGITS, "--flops", "0.4", "-o", tmp_path / "out", "--no-onnx")
    quick = ("--score", "l1", "--recover", "none")
    how = ("--mean", MEAN, "--std", STD, "--augment", "crop", *quick, "--json")
    found = cli(*given, "--train", class_folders, "--finetune", "2", *how)
    assert found.code == 0, found.err
    report = json.loads(found.out)
    tuned = report["finetuned"]
    assert (tuned["epochs"], tuned["samples"]) == (2, 240)
    assert tuned["after"] < 0.8 * tuned["before"]
    assert 0.2 < tuned["accuracy_before"] < tuned["accuracy_after"]
    assert report["calibration"]["source"] == "240 labelled samples"
    assert "finetune" in report["seconds"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out"]  # nothing unfinished is left
    small = gp.load(tmp_path / "out")
    weights = torch.load(tmp_path / "out" / "model.pt")
    assert torch.equal(small.state_dict()["fc.weight"], weights["fc.weight"])
    assert cli("report", tmp_path / "out").code == 0
    assert "2 epochs of 240 labelled samples" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--finetune", "2"], "--finetune needs --train"),
        (["--train", "."], "--train needs --finetune"),
        (["--train", ".", "--finetune", "2", "--augment", "mix"], "mixed inputs have no label"),
        (["--train", ".", "--finetune", "2", "--data", ".", "--distil", "5"], "choose one"),
        (["--train", "nowhere", "--finetune", "1"], "no such file: nowhere"),
    ],
)
def test_wrong_finetuning(
    cli: Cli,
    class_folders: Path,
    options: list[str],
    says: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(class_folders)
    found = cli("compress", *DIGITS, "--flops", "0.5", "--dry-run", *options)
    assert found.code == 2
    assert says in found.err


def test_folders_that_are_no_classes_of_the_network(
    cli: Cli, class_folders: Path, tmp_path: Path
) -> None:
    how = ("compress", *DIGITS, "--flops", "0.5", "--dry-run", "--finetune", "1", "--train")
    missing = tmp_path / "missing"
    shutil.copytree(class_folders, missing)
    shutil.move(missing / "9", missing / "10")
    said = cli(*how, missing)
    expect(said, 2, "error[GP001]: missing has a folder for class 10, the model has classes 0 to 9")
    shutil.move(missing / "10", missing / "nine")
    expect(
        cli(*how, missing), 2, "error[GP001]: some folders of missing are numbers", "'nine' isn't"
    )
    for number in range(9):
        shutil.move(missing / f"{number}", missing / f"class {number}")
    shutil.rmtree(missing / "nine")
    said = cli(*how, missing)
    expect(said, 2, "error[GP001]: missing has folders for 9 classes, the model has 10", "--train")
