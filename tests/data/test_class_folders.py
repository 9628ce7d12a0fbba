"""Which class a file belongs to, by the folders within its source."""

from __future__ import annotations

import pytest

from graphprune.data.class_folders import class_folders
from graphprune.errors import LoadError


@pytest.mark.parametrize(
    ("names", "labels", "by_number"),
    [
        (("b", "a", "c"), (1, 0, 2), False),
        (("0", "1", "2"), (0, 1, 2), True),
        (("002", "000"), (2, 0), True),  # a class may be missing where numbers say which
        (("class 10", "class 9", "class 1"), (1, 2, 0), False),  # no numbers: alphabetical
        ([str(n) for n in range(12)], range(12), True),  # in order of their values
    ],
)
def test_folders_are_classes_by_their_number_or_place(
    names: tuple[str, ...], labels: tuple[int, ...], by_number: bool
) -> None:
    found = class_folders([f"{name}/0.png" for name in names], "train")
    assert found.labels == {f"{n}/0.png": label for n, label in zip(names, labels, strict=True)}
    assert found.by_number == by_number
    found.check(12 if by_number else 3)


def test_only_the_outermost_folder_that_differs_counts() -> None:
    found = class_folders(["all/cat/big/1.png", "all/cat/0.png", "all/dog/big/0.png"], "train")
    assert list(found.labels.values()) == [0, 0, 1]


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (("0", "1", "cat"), "some folders of train are numbers of classes, and 'cat' isn't"),
        (("1", "01", "2"), "two folders of train are the same number"),
        (("a", "a/b"), "train has no folder for each class"),
        ((".", "a"), "train has no folder for each class"),
    ],
)
def test_folders_that_could_mean_anything_are_refused(names: tuple[str, ...], says: str) -> None:
    with pytest.raises(LoadError, match=says):
        class_folders([f"{name}/0.png" for name in names], "train")


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (("1", "2", "3"), "folder for class 3, the model has classes 0 to 2"),
        (("a", "b"), "folders for 2 classes, the model has 3"),
        (("a", "b", "c", "d"), "folders for 4 classes, the model has 3"),
    ],
)
def test_folders_for_other_classes_than_the_models(names: tuple[str, ...], says: str) -> None:
    with pytest.raises(LoadError, match=says):
        class_folders([f"{name}/0.png" for name in names], "train").check(3)
