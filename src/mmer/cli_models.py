"""The `mmer` commands that take a trained model elsewhere."""

from pathlib import Path
from typing import Annotated

import typer

from mmer.cli_options import ModelFolder
from mmer.errors import ExportError


def export(
    model: ModelFolder,
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to write.")],
    onnx: Annotated[bool, typer.Option("--onnx", help="For onnxruntime, without PyTorch.")] = False,
    int8: Annotated[
        bool, typer.Option("--int8", help="With weights of 8 bits: smaller, not quite the same answers.")
    ] = False,
) -> None:
    """Write a model folder that runs without PyTorch, and compare its answers with PyTorch's."""
    if not onnx:
        raise ExportError("nothing to export to; give --onnx, the only format there is")
    from mmer.inference.export import export_onnx

    done = export_onnx(model, out, int8=int8)
    typer.echo(
        f"exported model written: {out} ({done.size / 1e6:.1f} MB, of PyTorch {done.torch_size / 1e6:.1f} MB); "
        f"logits within {done.difference:.1g} of PyTorch's"
    )
