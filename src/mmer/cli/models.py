"""The `mmer` commands that take a trained model elsewhere."""

from pathlib import Path
from typing import Annotated

import typer

from mmer.cli.options import ModelFolder
from mmer.display.terminal import print_result
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
    from mmer.inference.backends.export import export_onnx

    done = export_onnx(model, out, int8=int8)
    print_result(
        f"exported model written: {out} ({done.size / 1e6:.1f} MB, of PyTorch {done.torch_size / 1e6:.1f} MB); "
        f"logits within {done.difference:.1g} of PyTorch's"
    )


def bundle(
    model: ModelFolder,
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write, its name ending in .mmer.")],
) -> None:
    """Pack a model folder into one file with checksums, which every command reads in its place."""
    from mmer.inference.backends.bundle import write_bundle

    digest = write_bundle(model, out)
    print_result(f"bundle written: {out} ({out.stat().st_size / 1e6:.1f} MB, SHA-256 {digest})")


def card(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a finished run.")],
) -> None:
    """Write RUN/model/README.md, a model card from the run's own files."""
    from mmer.evaluation.model_card import write_model_card

    print_result(write_model_card(run))
