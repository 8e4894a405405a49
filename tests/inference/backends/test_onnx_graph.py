"""Graphs that `mmer model export` never writes, from a folder of a stranger: refused before onnxruntime reads them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from mmer.errors import CheckpointError
from mmer.inference.backends.onnx_graph import check_graph
from mmer.inference.backends.onnx_network import OnnxNetwork

onnx = pytest.importorskip("onnx")
helper, numbers = onnx.helper, onnx.numpy_helper


def write(
    folder: Path, nodes: Sequence[object], weights: Sequence[object] = (), functions: Sequence[object] = ()
) -> Path:
    """A model of these nodes, of which the last gives `y`."""
    output = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "graph", [], [output], weights)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
    model = helper.make_model(graph, opset_imports=opsets, functions=functions, ir_version=10)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return folder / "model.onnx"


def constant(name: str, values: object, kind: type = np.int64) -> object:
    return numbers.from_array(np.array(values, kind), name)


def external(place: str) -> object:
    tensor = onnx.TensorProto(name="w", data_type=onnx.TensorProto.FLOAT, dims=[2], data_location=1)
    tensor.external_data.add(key="location", value=place)
    return tensor


def branch() -> object:
    """A graph inside an operator: an array of as many numbers as no machine holds."""
    shape = helper.make_node("Constant", [], ["s"], value=constant("s", [10**6, 10**6]))
    filled = helper.make_node("ConstantOfShape", ["s"], ["z"])
    output = helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, None)
    return helper.make_graph([shape, filled], "branch", [], [output])


def endless() -> object:
    """The body of a loop that never says that it is over."""
    given = [
        helper.make_tensor_value_info("i", onnx.TensorProto.INT64, []),
        helper.make_tensor_value_info("on", onnx.TensorProto.BOOL, []),
    ]
    again = helper.make_node("Identity", ["on"], ["on_again"])
    return helper.make_graph(
        [again], "body", given, [helper.make_tensor_value_info("on_again", onnx.TensorProto.BOOL, [])]
    )


def hostile(folder: Path) -> dict[str, Path]:
    """Graphs by what is told of them."""
    yes = constant("yes", True, np.bool_)
    huge = constant("s", [10**6, 10**6])
    twice = helper.make_function(
        "own",
        "Twice",
        ["x"],
        ["y"],
        [helper.make_node("Add", ["x", "x"], ["y"])],
        [helper.make_opsetid("", 18)],
    )
    made = {
        "'Loop', which has a graph in it": ([helper.make_node("Loop", ["", "yes"], ["y"], body=endless())], [yes]),
        "'If', which has a graph in it": (
            [helper.make_node("If", ["yes"], ["y"], then_branch=branch(), else_branch=branch())],
            [yes],
        ),
        "'Scan', which has a graph in it": (
            [helper.make_node("Scan", ["yes"], ["y"], body=endless(), num_scan_inputs=1)],
            [yes],
        ),
        "functions of its own": ([helper.make_node("Twice", ["s"], ["y"], domain="own")], [huge], [twice]),
        "'Twice' of 'own'": ([helper.make_node("Twice", ["s"], ["y"], domain="own")], [huge]),
        "'ConstantOfShape' asked for 1.0e+12 numbers": (
            [helper.make_node("ConstantOfShape", ["s"], ["y"])],
            [huge],
        ),
        "'Expand' asked for 1.0e+12 numbers": (
            [
                helper.make_node("Constant", [], ["s"], value=huge),
                helper.make_node("Expand", ["x", "s"], ["y"]),
            ],
            [constant("x", [1.0], np.float32)],
        ),
        "'Range' asked for 1.0e+12 numbers": (
            [helper.make_node("Range", ["from", "to", "step"], ["y"])],
            [constant("from", 0), constant("to", 10**12), constant("step", 1)],
        ),
        "'Tile' asked for 1.0e+12 numbers": (
            [
                helper.make_node("Constant", [], ["s"], value_ints=[10**6, 10**6]),
                helper.make_node("Tile", ["x", "s"], ["y"]),
            ],
            [constant("x", [[1.0]], np.float32)],
        ),
        "weights in '../secret'": ([helper.make_node("Identity", ["w"], ["y"])], [external("../secret")]),
        "weights in '/etc/hostname'": ([helper.make_node("Identity", ["w"], ["y"])], [external("/etc/hostname")]),
        "weights in 'nothing'": ([helper.make_node("Identity", ["w"], ["y"])], [external("nothing")]),
        "weights in '..'": ([helper.make_node("Identity", ["w"], ["y"])], [external("..")]),
        "weights in '*/_ORT_MEM_ADDR_/*'": (
            [helper.make_node("Identity", ["w"], ["y"])],
            [external("*/_ORT_MEM_ADDR_/*")],
        ),
    }  # fmt: skip
    (folder / "secret").write_bytes(bytes(8))
    files = {}
    for number, (told, parts) in enumerate(made.items()):
        place = folder / str(number)
        place.mkdir()
        files[told] = write(place, *parts)
    return files


def test_what_no_export_holds(tmp_path: Path) -> None:
    for told, file in hostile(tmp_path).items():
        with pytest.raises(CheckpointError) as caught:
            OnnxNetwork(file, 400)
        assert str(caught.value).startswith(f"{file} holds ")
        assert told in str(caught.value)
        assert "\n" not in str(caught.value)


def test_weights_beside_it_are_read(tmp_path: Path) -> None:
    (tmp_path / "model.onnx.data").write_bytes(bytes(8))
    OnnxNetwork(
        write(tmp_path, [helper.make_node("Identity", ["w"], ["y"])], [external("model.onnx.data")]), 400
    )


def test_a_huge_file_takes_no_memory(tmp_path: Path) -> None:
    """Its weights are not looked at."""
    file = write(tmp_path, [helper.make_node("Identity", ["w"], ["y"])], [constant("w", [1.0], np.float32)])
    with file.open("ab") as more:  # a field that nobody knows, of 2 GB
        more.write(b"\xfa\x07\x80\x80\x80\x80\x08")
        more.truncate(more.tell() + 2**31)
    check_graph(file)
    with file.open("r+b") as cut:
        cut.truncate(2**20)
    with pytest.raises(ValueError, match="ends too early"):
        check_graph(file)
