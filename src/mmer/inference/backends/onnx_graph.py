"""Check of an untrusted ONNX file before onnxruntime reads it.

The file is a protocol buffer. Only the few fields that matter here are looked at, in place, so that a file of
gigabytes of weights takes no memory, and neither PyTorch nor the package `onnx` is needed.
"""

import math
import mmap
from collections.abc import Iterator
from pathlib import Path

from mmer.errors import CheckpointError

_DOMAINS = ("", "ai.onnx", "com.microsoft")
"""Of operators: the standard, and what the tools of onnxruntime make of an exported graph."""
_GROWING = {
    *("ConstantOfShape", "Expand", "EyeLike", "Pad", "Range", "Resize", "Tile", "Upsample"),
    *("RandomNormal", "RandomUniform"),
}
"""Operators whose output can be much larger than their inputs."""
_MOST_NUMBERS = 2**28
"""That a constant of the graph may ask one of these operators for."""
_LONGEST_SHAPE = 16  # numbers
# Numbers of fields in onnx.proto.
_MODEL_GRAPH, _MODEL_FUNCTIONS = 7, 25
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_SPARSE = 1, 5, 15
_NODE_INPUT, _NODE_OUTPUT, _NODE_OPERATOR, _NODE_ATTRIBUTE, _NODE_DOMAIN = 1, 2, 4, 5, 7
_ATTRIBUTE_TENSOR, _ATTRIBUTE_GRAPH, _ATTRIBUTE_INTEGERS, _ATTRIBUTE_GRAPHS = 5, 6, 8, 11
_TENSOR_KIND, _TENSOR_INTEGERS, _TENSOR_NAME, _TENSOR_RAW, _TENSOR_EXTERNAL = 2, 7, 8, 9, 13
_ENTRY_KEY, _ENTRY_VALUE = 1, 2
_INT64 = 7
Message = dict[int, list[memoryview | int]]


def check_graph(file: Path) -> None:
    """Refuse a graph that `mmer model export` cannot have written and that could run or grow without end.

    Its operators are ONNX's own and in one graph, without loops, conditions and functions; weights lie in the file, or
    in another file of its folder; and no constant asks for an array of more than 268 million numbers.

    Raises:
        CheckpointError: it is another graph.
        ValueError: the file is damaged.
    """
    with file.open("rb") as source:
        # Unmapped with the last view of it.
        model = _message(memoryview(mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ)))
    if _MODEL_FUNCTIONS in model:
        raise _refusal(file, "functions of its own")
    if len(model.get(_MODEL_GRAPH, ())) > 1:
        raise _refusal(file, "more than one graph")
    for graph in map(_message, _views(model, _MODEL_GRAPH)):
        if _GRAPH_SPARSE in graph:
            raise _refusal(file, "sparse weights")
        constants = dict(_tensor(file, tensor) for tensor in _views(graph, _GRAPH_INITIALIZER))
        for node in _views(graph, _GRAPH_NODE):
            _check_node(file, _message(node), constants)


def _check_node(file: Path, node: Message, constants: dict[str, int]) -> None:
    """Check one operator; add the output of a `Constant` to `constants`."""
    operator, domain = (_text(node, field) for field in (_NODE_OPERATOR, _NODE_DOMAIN))
    if domain not in _DOMAINS:
        raise _refusal(file, f"the operator {operator!r} of {domain!r}")
    asked = 1
    for attribute in map(_message, _views(node, _NODE_ATTRIBUTE)):
        if attribute.keys() & {_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS}:
            raise _refusal(file, f"the operator {operator!r}, which has a graph in it")
        asked = max(asked, _product(_integers(attribute, _ATTRIBUTE_INTEGERS)))
        for tensor in _views(attribute, _ATTRIBUTE_TENSOR):
            asked = max(asked, _tensor(file, tensor)[1])
    if operator == "Constant":
        constants |= {bytes(name).decode(): asked for name in _views(node, _NODE_OUTPUT)}
    elif operator in _GROWING:
        for name in _views(node, _NODE_INPUT):
            asked = max(asked, constants.get(bytes(name).decode(), 1))
        if asked > _MOST_NUMBERS:
            raise _refusal(file, f"the operator {operator!r} asked for {asked:.1e} numbers")


def _tensor(file: Path, view: memoryview) -> tuple[str, int]:
    """Return a tensor's name, and the product of its numbers if it is short enough for an array's shape, else 1."""
    tensor = _message(view)
    for entry in map(_message, _views(tensor, _TENSOR_EXTERNAL)):
        place = _text(entry, _ENTRY_VALUE)
        # The whole file, beside this one: what `mmer model export` writes, and what a bundle can hold.
        if _text(entry, _ENTRY_KEY) == "location" and not (
            Path(place).name == place and (file.parent / place).is_file()
        ):
            raise _refusal(file, f"weights in {place!r}, which is no file in its folder")
    numbers = []
    if tensor.get(_TENSOR_KIND, [])[-1:] == [_INT64]:
        raw = b"".join(bytes(part) for part in _views(tensor, _TENSOR_RAW) if len(part) <= 8 * _LONGEST_SHAPE)
        numbers = [int.from_bytes(raw[at : at + 8], "little", signed=True) for at in range(0, len(raw), 8)]
        numbers += _integers(tensor, _TENSOR_INTEGERS)
    return _text(tensor, _TENSOR_NAME), _product(numbers)


def _product(numbers: list[int]) -> int:
    return math.prod(max(abs(number), 1) for number in numbers) if len(numbers) <= _LONGEST_SHAPE else 1


def _refusal(file: Path, found: str) -> CheckpointError:
    return CheckpointError(f"{file} holds {found}; an export of mmer holds no such graph, do not use it")


def _message(view: memoryview) -> Message:
    """Read the raw fields of a message by their numbers.

    Raises:
        ValueError: the bytes are no message.
    """
    fields: Message = {}
    at = 0
    while at < len(view):
        tag, at = _integer(view, at)
        kind = tag & 7
        if kind == 0:
            value, at = _integer(view, at)
        else:
            if kind == 2:
                size, at = _integer(view, at)
            elif kind in (1, 5):
                size = 8 if kind == 1 else 4
            else:
                raise ValueError("it is not ONNX")
            if size > len(view) - at:
                raise ValueError("it ends too early")
            value, at = view[at : at + size], at + size
        fields.setdefault(tag >> 3, []).append(value)
    return fields


def _integer(view: memoryview, at: int) -> tuple[int, int]:
    """Read a variable-length integer; return it with its end."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(view):
            break
        byte, at = view[at], at + 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("it is not ONNX, or ends too early")


def _views(message: Message, field: int) -> Iterator[memoryview]:
    return (value for value in message.get(field, ()) if isinstance(value, memoryview))


def _text(message: Message, field: int) -> str:
    return bytes(next(reversed([b"", *_views(message, field)]))).decode()


def _integers(message: Message, field: int) -> list[int]:
    """Read the integers of a repeated field, packed or not; only some of a long field, which is no shape."""
    numbers = []
    for value in message.get(field, ()):
        if isinstance(value, int):
            numbers.append(value)
            continue
        at = 0
        while at < len(value) and len(numbers) <= _LONGEST_SHAPE:
            number, at = _integer(value, at)
            numbers.append(number)
    return [number - 2**64 if number >= 2**63 else number for number in numbers]
