"""The `mmer model` commands, which export, import and check models."""

from pathlib import Path
from typing import Annotated

import typer

from mmer.cli.options import Device, ModelFolder, OutFolder, out_option
from mmer.display.terminal import print_list, print_result, results, tell
from mmer.errors import MMERError, Parameter
from mmer.memory import objects_that_stay


def models() -> None:
    """List published checkpoints that can be given as MODEL: answers, license, training data, reported figures."""
    from mmer.published.catalog import list_models

    print_list(list_models())
    tell("To try one: mmer model check NAME, then mmer predict NAME RECORDING")


def export_model(
    model: ModelFolder,
    out: Annotated[
        Path,
        out_option(
            "A folder for ONNX, which runs without PyTorch, or a .mmer file, which holds the model as it is."
        ),
    ],
    int8: Annotated[
        bool,
        typer.Option(
            "--int8", help="Store ONNX weights with 8 bits: a smaller file, slightly different answers."
        ),
    ] = False,
) -> None:
    """Export a model as ONNX, or pack it into one file with checksums; either predicts like the model."""
    with objects_that_stay():
        from mmer.inference.backends.bundle import SUFFIX, write_bundle
        from mmer.inference.backends.export import export_onnx

    if out.suffix == SUFFIX:
        if int8:
            raise MMERError(
                Parameter("int8", True), f" is for ONNX; export to a folder, and from that folder to {out}"
            )
        digest = write_bundle(model, out)
        print_result(f"bundle written: {out} ({out.stat().st_size / 1e6:.1f} MB, SHA-256 {digest})")
        return
    done = export_onnx(model, out, int8=int8)
    print_result(
        f"exported model written: {out} ({done.size / 1e6:.1f} MB, of PyTorch {done.torch_size / 1e6:.1f} MB); "
        f"logits within {done.difference:.1g} of PyTorch's"
    )


def import_model(
    checkpoint: Annotated[
        Path, typer.Argument(metavar="OFFICIAL.pt", help="A checkpoint of the published code.")
    ],
    out: OutFolder,
    text_encoder: Annotated[
        str, typer.Option(help="Name or folder of the text encoder the checkpoint was trained with.")
    ] = "roberta-base",
) -> None:
    """Turn a published MMER checkpoint into a model folder."""
    with objects_that_stay():
        from mmer.model.import_checkpoint import import_checkpoint

    import_checkpoint(checkpoint, out, text_encoder=text_encoder)
    print_result(f"model folder written: {out}")


def check(
    model: ModelFolder,
    exported: Annotated[
        Path | None,
        typer.Argument(metavar="EXPORTED", help="A folder of `mmer model export`, to compare with MODEL."),
    ] = None,
    device: Device = None,
) -> None:
    """Verify that a model gives the same answers on this machine as where it was made; exit code 1 if it does not."""
    from mmer.inference.doctor import check_table, examine

    checks = examine(model, exported=exported, device=device)
    results().print(check_table(checks))
    if any(check.holds is False for check in checks):
        raise typer.Exit(1)
