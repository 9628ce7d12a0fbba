"""Tell from the scores of a classifier whether it looks untrained, or is given other data than it was trained on.

A trained classifier tells inputs apart: most of what its scores are differs between samples. Random weights give
nearly the same scores to all inputs, and so do trained ones for pixels of 0 to 255 in place of normalised ones, or for noise.

Measured on 8 to 200 images, as the share of the scores' squares that differs between samples: trained ResNet-20, ResNet-56,
EfficientNet-Lite0 and an MLP 0.93 to 0.98, the ResNets on images of one class only 0.40 to 0.55; networks of seven kinds with random weights
0 to 0.19, but of a vision transformer 0.6 to 0.8; the ResNets on pixels of 0 to 255 0.06 to 0.10, on noise 0.04 to 0.11. EfficientNet-Lite0, which
copes with such pixels to some degree, has 0.53 there.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from graphprune.ir.devices import wide

__all__ = ["untrained_hint"]

LEAST_DIFFERENCE = 0.2
"""Share of the squares of the scores that differs between samples, below which they look untrained."""

LEAST_CERTAINTY = 0.1
"""How far probabilities are from uniform, 0 to 1, below which they look untrained: one less their mean entropy, over that of
uniform ones. It is 0.7 and more of trained networks, and up to 0.15 of random ones that are small."""

FEWEST_CLASSES = 5
"""Of fewer classes, one is often the right one for nearly all samples."""

FEWEST_SAMPLES = 4

_TOLERANCE = 1e-3


def untrained_hint(outputs: Tensor) -> str:
    """Describe what makes a model look untrained; empty if nothing does, or its outputs aren't scores of classes.

    Scores of classes are taken to have one row for each sample, and values of both signs; embeddings that are
    normalised, features behind a ReLU and sizes in pixels aren't scores. Probabilities are told by their sum, and their logarithms
    are looked at.

    Args:
        outputs: ``[samples, classes]``, floats.
    """
    count, classes = outputs.shape
    if count < FEWEST_SAMPLES or classes < FEWEST_CLASSES or not bool(outputs.isfinite().all()):
        return ""
    scores = wide(outputs)
    probable = _are_probabilities(scores)
    if probable:
        scores = scores.clamp_min(torch.finfo(torch.float32).tiny).log()
    elif bool((scores >= 0).all() | (scores <= 0).all()) or _are_normalised(scores):
        return ""
    difference, certainty = _difference(scores), _certainty(scores)
    if difference < LEAST_DIFFERENCE:
        what = f"only {difference:.1%} of the scores' energy differs between samples"
    elif probable and certainty < LEAST_CERTAINTY:
        what = "the probabilities are nearly the same for all classes"
    else:
        return ""
    return (
        f"if the {classes} outputs are scores of classes, the dense model looks untrained, or its data aren't prepared as those "
        f"it was trained on (mean, std, order of the channels): {what}"
    )


def _are_probabilities(values: Tensor) -> bool:
    sums = values.sum(1)
    return bool((values >= 0).all()) and bool(((sums - 1).abs() < _TOLERANCE).all())


def _are_normalised(values: Tensor) -> bool:
    return bool(((values.norm(dim=1) - 1).abs() < _TOLERANCE).all())


def _difference(scores: Tensor) -> float:
    """Return the share of the squares that differs between samples, of what a softmax takes notice of."""
    centred = scores - scores.mean(1, keepdim=True)
    total = float(centred.square().sum())
    count = len(centred)
    between = float((centred - centred.mean(0)).square().sum()) * count / (count - 1)
    return between / total if total > 0 else 0.0


def _certainty(scores: Tensor) -> float:
    """Return how far the probabilities are from uniform ones, 0 to 1."""
    logs = scores.log_softmax(1)
    entropy = -(logs.exp() * logs).sum(1).mean()
    return 1 - float(entropy) / math.log(scores.shape[1])
