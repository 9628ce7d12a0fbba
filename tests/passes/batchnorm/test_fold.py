"""Folding BN: what folds, what stays, and that the numbers stay the same."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, fx, nn
from torch.export import Dim, ExportedProgram

from graphprune.ir.program import fingerprint, unlift
from graphprune.models import ALL
from graphprune.models.randomize import randomize_batchnorm
from graphprune.passes import FoldBatchNorm, Folded
from graphprune.passes.batchnorm.fold import fold, fold_batchnorm, foldable
from tests.harness import apply_and_check, untouched

FOLD_TOLERANCE = 1e-10
"""Relative error in float64; folding reorders sums, measured 1e-16 to 1e-14."""

aten = torch.ops.aten


class Net(nn.Module):
    """A net of a few layers. ``folds`` and ``stays`` count its BN."""

    folds = 0
    stays = 0
    example: tuple[int, ...] = (2, 4, 6, 6)

    @classmethod
    def program(cls) -> ExportedProgram:
        torch.manual_seed(0)
        return export(cls(), torch.randn(cls.example, dtype=torch.float64))


def export(net: nn.Module, *inputs: Tensor) -> ExportedProgram:
    """A net in float64 with BN statistics that aren't trivial, the batch dynamic."""
    net = net.double().eval()
    randomize_batchnorm(net, seed=1)
    return torch.export.export(net, inputs, dynamic_shapes=[{0: Dim("batch")}] * len(inputs))


def batch_norms(module: fx.GraphModule) -> int:
    return len(module.graph.find_nodes(op="call_function", target=aten.batch_norm.default))


class Chain(Net):
    """Layers one after the other; ``layers`` makes them."""

    layers: Callable[[], list[nn.Module]]

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(*type(self).layers())

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


def chain(
    name: str,
    layers: Callable[[], list[nn.Module]],
    *,
    folds: int,
    stays: int = 0,
    example: tuple[int, ...] = (2, 4, 6, 6),
) -> type[Chain]:
    members = {"layers": staticmethod(layers), "folds": folds, "stays": stays, "example": example}
    return type(name, (Chain,), members)


class CastBetween(Net):
    """A cast between the convolution and its BN, as mixed-precision code writes it."""

    folds = 1

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, bias=False)
        self.bn = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return torch.relu(self.bn(y.to(self.bn.weight.dtype)))


class NarrowedBetween(CastBetween):
    """A cast that loses precision is no identity."""

    folds = 0
    stays = 1

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.bn(self.conv(x).float().double()))


class SharedValue(Net):
    """The convolution's result is added to that of its BN, so the BN must stay."""

    stays = 1

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return self.bn(x) + x


class AfterAdd(Net):
    """Nothing to fold into on either side."""

    stays = 1

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.bn = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.bn(self.a(x) + self.b(x)))


class UsedTwice(Net):
    """The BN's result has two readers; the layer before it takes it all the same."""

    folds = 1

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(self.conv(x))
        return torch.relu(x) + x.sigmoid()


class SharedConvolution(Net):
    """One convolution, called twice, each call with its own BN: its weight must split."""

    folds = 2

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.first, self.second = nn.BatchNorm2d(4), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.conv(torch.relu(self.first(self.conv(x)))))


class SharedWithoutNorm(Net):
    """The second call of the convolution has no BN and keeps the old weight."""

    folds = 1

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(torch.relu(self.bn(self.conv(x))))


class SharedNorm(Net):
    """One BN behind two convolutions."""

    folds = 2

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.bn = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.a(x)) * self.bn(self.b(x))


class TiedWeights(Net):
    """Two convolutions hold one tensor under two names."""

    folds = 1

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.bn = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.b.weight = self.a.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.relu(self.bn(self.a(x))))


class TwoReaders(Net):
    """Both readers of the BN take it; they share a weight that a third call needs too."""

    folds = 1

    def __init__(self) -> None:
        super().__init__()
        self.bn, self.conv = nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1)
        self.wide = nn.Conv2d(4, 4, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.bn(torch.relu(x))
        return self.conv(torch.relu(self.conv(y))), self.wide(y)


class OnePaddedReader(Net):
    """One of the BN's readers has padding, so neither may take it."""

    stays = 1

    def __init__(self) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(4)
        self.plain, self.padded = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(x)
        return self.plain(x) + self.padded(x)


class Output(Net):
    """The BN's result is an output as well."""

    stays = 1

    def __init__(self) -> None:
        super().__init__()
        self.bn, self.conv = nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.bn(x)
        return x, self.conv(x)


class WrittenInPlace(Net):
    """``relu_`` overwrites the convolution's result before the BN reads it."""

    stays = 1

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        torch.relu_(x)
        return self.bn(x)


class Overwritten(Net):
    """The BN's input is overwritten before the reader of its result runs."""

    stays = 1

    def __init__(self) -> None:
        super().__init__()
        self.bn, self.conv = nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = x * 2
        y = self.bn(x)
        x[:, :2].add_(1)
        return self.conv(y) + x


class OtherOverwritten(Net):
    """What is overwritten in between is no part of the BN's input."""

    folds = 1

    def __init__(self) -> None:
        super().__init__()
        self.bn, self.a, self.b = nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn(x.sigmoid())
        return torch.relu_(self.a(y)) + self.b(y)


class AsWeight(Net):
    """The BN's result is a convolution's weight."""

    stays = 1

    def __init__(self) -> None:
        super().__init__()
        self.bn, self.register = nn.BatchNorm2d(4), nn.Parameter(torch.randn(4, 4, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.conv2d(x, self.bn(self.register))


class ComputedWeight(Net):
    """The weight isn't stored but computed."""

    stays = 1

    def __init__(self) -> None:
        super().__init__()
        self.bn, self.weight = nn.BatchNorm2d(4), nn.Parameter(torch.randn(4, 4, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(nn.functional.conv2d(x, self.weight.tanh()))


class TokenNorm(Net):
    """Behind a linear on tokens, BN normalises tokens, not the linear's channels."""

    stays = 1
    example = (2, 4, 5)

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.bn = nn.Linear(5, 6), nn.BatchNorm1d(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.fc(x))


class Unbatched(Net):
    """A convolution without batch axis has its channels in axis 0."""

    stays = 1
    example = (4, 5, 6)

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(4, 4, 1), nn.BatchNorm1d(5)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x))

    @classmethod
    def program(cls) -> ExportedProgram:
        torch.manual_seed(0)
        net = cls().double().eval()
        randomize_batchnorm(net, seed=1)
        return torch.export.export(net, (torch.randn(cls.example, dtype=torch.float64),))


class Training(Net):
    """A BN that uses the statistics of the batch."""

    stays = 1

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4, track_running_stats=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x))


class TrainingWithStatistics(Net):
    """A BN that was left in training mode; it has running statistics, but doesn't use them."""

    stays = 1

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        mean, var = self.bn.running_mean, self.bn.running_var
        return nn.functional.batch_norm(self.conv(x), mean, var, training=True)


class Gram(Net):
    """A linear whose input is its weight."""

    stays = 1

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bn = nn.Parameter(torch.randn(4, 4)), nn.BatchNorm1d(4)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bn(nn.functional.linear(self.weight, self.weight)).sum()


class Functional(Net):
    """Weights at the top level, under names of their own."""

    folds = 1

    def __init__(self) -> None:
        super().__init__()
        self.kernel, self.bn = nn.Parameter(torch.randn(6, 4, 3, 3)), nn.BatchNorm2d(6)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(nn.functional.conv2d(x, self.kernel))


def no_affine(size: int) -> nn.Module:
    return nn.BatchNorm2d(size, affine=False)


BN = nn.BatchNorm2d
NETS: list[type[Net]] = [
    chain("ConvBn", lambda: [nn.Conv2d(4, 6, 3, padding=1, bias=False), BN(6), nn.ReLU(True)],
          folds=1),
    chain("ConvBiasBn", lambda: [nn.Conv2d(4, 6, 3, stride=2), BN(6)], folds=1),
    chain("ConvSameBn", lambda: [nn.Conv2d(4, 6, 3, padding="same"), BN(6)], folds=1),
    chain("ConvNoAffine", lambda: [nn.Conv2d(4, 6, 3), no_affine(6)], folds=1),
    chain("Grouped", lambda: [nn.Conv2d(4, 6, 3, groups=2), BN(6)], folds=1),
    chain("Depthwise", lambda: [nn.Conv2d(4, 8, 3, groups=4, padding=1), BN(8)], folds=1),
    chain("Conv1d", lambda: [nn.Conv1d(4, 6, 3), nn.BatchNorm1d(6)], folds=1,
          example=(2, 4, 9)),
    chain("Conv3d", lambda: [nn.Conv3d(4, 6, 3, padding="same"), nn.BatchNorm3d(6)], folds=1,
          example=(2, 4, 5, 5, 5)),
    chain("Transposed",
          lambda: [nn.ConvTranspose2d(4, 6, 3, stride=2, output_padding=1), BN(6)], folds=1),
    chain("TransposedGrouped", lambda: [nn.ConvTranspose2d(4, 6, 2, groups=2), BN(6)],
          folds=1),
    chain("Transposed1d", lambda: [nn.ConvTranspose1d(4, 8, 3, groups=4), nn.BatchNorm1d(8)],
          folds=1, example=(2, 4, 9)),
    chain("Transposed3d", lambda: [nn.ConvTranspose3d(4, 2, 2), nn.BatchNorm3d(2)], folds=1,
          example=(2, 4, 3, 3, 3)),
    chain("Linear", lambda: [nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU()], folds=1,
          example=(3, 4)),
    chain("LinearNoBias", lambda: [nn.Linear(4, 6, bias=False), nn.BatchNorm1d(6)], folds=1,
          example=(3, 4)),
    chain("Dropout", lambda: [nn.Conv2d(4, 6, 1), nn.Dropout(0.3), BN(6), nn.ReLU()], folds=1),
    chain("TwoNorms", lambda: [nn.Conv2d(4, 6, 3, padding=1), BN(6), BN(6), no_affine(6)],
          folds=3),
    chain("Activation", lambda: [nn.Conv2d(4, 4, 1), nn.ReLU(True), BN(4), nn.ReLU()], folds=0,
          stays=1),
    chain("Ahead", lambda: [nn.ReLU(), BN(4), nn.Conv2d(4, 6, 3, bias=False)], folds=1),
    chain("AheadValid", lambda: [BN(4), nn.Conv2d(4, 6, 3, stride=2, padding="valid")],
          folds=1),
    chain("AheadSamePoint", lambda: [BN(4), nn.Conv2d(4, 6, 1, padding="same")], folds=1),
    chain("AheadGrouped", lambda: [BN(4), nn.Conv2d(4, 6, (3, 2), groups=2)], folds=1),
    chain("AheadDepthwise", lambda: [no_affine(4), nn.Conv2d(4, 8, 3, groups=4)], folds=1),
    chain("AheadLinear", lambda: [nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 3)], folds=1,
          example=(3, 4)),
    chain("AheadTransposedPoint", lambda: [BN(4), nn.ConvTranspose2d(4, 6, 1, groups=2)],
          folds=1),
    chain("AheadPadded", lambda: [nn.ReLU(), BN(4), nn.Conv2d(4, 6, 3, padding=1)], folds=0,
          stays=1),
    chain("AheadSame", lambda: [BN(4), nn.Conv2d(4, 6, 3, padding="same")], folds=0, stays=1),
    chain("AheadPaddedPoint", lambda: [BN(4), nn.Conv2d(4, 6, 1, padding=1)], folds=0,
          stays=1),
    chain("AheadTransposed", lambda: [BN(4), nn.ConvTranspose2d(4, 6, 2)], folds=0, stays=1),
    chain("AheadStrided", lambda: [BN(4), nn.ConvTranspose2d(4, 6, 1, stride=2)], folds=0,
          stays=1),
    chain("AheadTokens", lambda: [nn.BatchNorm1d(4), nn.Linear(5, 3)], folds=0, stays=1,
          example=(2, 4, 5)),
    chain("AheadTwoNorms", lambda: [BN(4), no_affine(4), nn.Conv2d(4, 6, 3)], folds=2),
    chain("BothSides", lambda: [BN(4), nn.Conv2d(4, 6, 3), BN(6), nn.Conv2d(6, 2, 3)],
          folds=2),
    AfterAdd, AsWeight, ComputedWeight, Functional, Gram, OnePaddedReader, OtherOverwritten,
    Output, Overwritten, SharedConvolution, SharedNorm, SharedValue, SharedWithoutNorm,
    TiedWeights, TokenNorm, Training, TrainingWithStatistics, TwoReaders, Unbatched, UsedTwice,
    WrittenInPlace,
]  # fmt: skip


@pytest.mark.parametrize("net", NETS, ids=lambda net: net.__name__)
def test_folds_what_it_should_and_computes_the_same(net: type[Net]) -> None:
    done = apply_and_check(
        FoldBatchNorm(),
        net.program(),
        exact=True,
        tolerance=FOLD_TOLERANCE,
        seed=2,
        idempotent=True,
        ops_before={"batch_norm": net.folds + net.stays},
        ops_after={"batch_norm": net.stays},
    )
    assert (done[Folded].before, done[Folded].after) == (net.folds + net.stays, net.stays)
    assert not foldable(unlift(done.program))


@pytest.mark.parametrize("net", NETS, ids=lambda net: net.__name__)
def test_a_graph_is_folded_in_a_copy(net: type[Net]) -> None:
    module = unlift(net.program())
    with untouched(module):
        small, count = fold(module)
    assert (count, batch_norms(small)) == (net.folds, net.stays)
    assert not foldable(small)
    again, none = fold(small)
    assert none == 0
    assert fingerprint(again) == fingerprint(small)


def test_a_weight_that_is_written_into_is_left_alone() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bn = nn.BatchNorm2d(6)
            self.register_buffer("weight", torch.randn(6, 4, 3, 3))

        def forward(self, x: Tensor) -> Tensor:
            self.weight.view(-1).add_(1.0)
            return self.bn(nn.functional.conv2d(x, self.weight))

    program = export(Counting(), torch.randn(2, 4, 6, 6, dtype=torch.float64))
    assert fold(unlift(program))[1] == 0


def test_half_precision_weights_keep_their_type() -> None:
    net = nn.Sequential(nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6)).bfloat16().eval()
    program = torch.export.export(net, (torch.randn(2, 4, 6, 6, dtype=torch.bfloat16),))
    module, count = fold(unlift(program))
    assert count == 1
    assert {p.dtype for p in module.parameters()} == {torch.bfloat16}


def test_a_program_with_nothing_to_fold_is_returned_as_it_is() -> None:
    program = AfterAdd.program()
    assert fold_batchnorm(program) is program


SLOW = {"bottleneck_resnet", "cifar_resnet20_b", "mobilenetv2", "shufflenet"}
WITHOUT_NORMS = {"gpt", "vit"}
NETWORKS = [
    pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else [])
    for name in ALL
    if name not in WITHOUT_NORMS
]


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_fold_end_to_end(name: str) -> None:
    torch.manual_seed(0)
    inputs = [x.double() for x in ALL[name].example_inputs()]
    program = export(ALL[name].build(), *inputs)
    small = apply_and_check(
        FoldBatchNorm(), program, exact=True, tolerance=FOLD_TOLERANCE, seed=2
    ).program
    module = unlift(small)
    assert not foldable(module)
    assert batch_norms(module) < batch_norms(unlift(program))
    weights = {name for name in program.state_dict if name.endswith("conv1.weight")}
    assert weights <= set(small.state_dict)
