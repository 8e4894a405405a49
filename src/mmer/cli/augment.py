"""The `mmer augment` command."""

from pathlib import Path
from typing import Annotated

import typer

from mmer.cli.corpus import RecordingsPath
from mmer.display.terminal import messages, tell
from mmer.files.writing import check_output_folder


def augment(
    corpus: RecordingsPath,
    out: Annotated[Path, typer.Option("--out", help="The folder: views.parquet and audio/.")],
    speech: Annotated[
        str,
        typer.Option(
            metavar="GEN[,GEN]", help="What makes the sound: yourtts, espeak, world, effects, none."
        ),
    ],
    text: Annotated[
        str,
        typer.Option(
            metavar="GEN",
            help="What makes the words: marian:en-de, marian:FORWARD_MODEL,BACK_MODEL, perturb, none.",
        ),
    ] = "none",
    sample: Annotated[
        bool,
        typer.Option("--sample", help="Draw translations, so that several views of an utterance differ."),
    ] = False,
    views: Annotated[int, typer.Option(min=1, help="Of each utterance, by each generator of sound.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Of all that is drawn.")] = 0,
    within: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN", help="Borrow voices from the same session, fold or other column alone."
        ),
    ] = None,
    every_split: Annotated[
        bool, typer.Option("--every-split", help="Views of all utterances, not of the split train alone.")
    ] = False,
    language: Annotated[
        str | None, typer.Option(help="Of utterances whose language the corpus does not tell, such as en.")
    ] = None,
    similarity: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="A text encoder that compares the words with the source's."),
    ] = None,
    min_similarity: Annotated[float, typer.Option(help="Cosine of the two in that encoder.")] = 0.6,
    asr: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="A CTC model of transformers or of mmer that listens to views."),
    ] = None,
    max_error_rate: Annotated[float, typer.Option(min=0, help="Of its characters.")] = 0.5,
    max_length_ratio: Annotated[float, typer.Option(min=1, help="Of the words to the source's.")] = 2.0,
    max_duration_ratio: Annotated[float, typer.Option(min=1, help="Of the sound to the source's.")] = 2.5,
    batch_size: Annotated[int, typer.Option(min=1, help="Utterances whose words are made together.")] = 16,
    device: Annotated[
        str | None, typer.Option(help="Of models: cpu, cuda or cuda:N; the first GPU if there is one.")
    ] = None,
) -> None:
    """Make second views of utterances for training; the same command again goes on after an interruption."""
    from mmer.augment.generators.by_name import speech_generators, text_generator
    from mmer.augment.make import make_views, summarize
    from mmer.augment.measures import load_judges
    from mmer.augment.quality_filters import QualityFilters
    from mmer.corpora.recordings import read_recordings
    from mmer.display.progress import counting

    console = messages()
    check_output_folder(out)
    table = read_recordings(corpus)
    for note in table.notes:
        tell(f"note: {note}", console)
    generators = speech_generators(speech.split(","), device=device)
    words = text_generator(text, sample=sample, device=device)
    filters = QualityFilters(max_length_ratio, min_similarity, max_duration_ratio, max_error_rate)
    judges = load_judges(similarity if words else None, asr if generators else None, device)
    for what, model in (
        ("similarity of the words", judges.similarity),
        ("intelligibility", judges.recognizer),
    ):
        if model is None:
            tell(f"not judged: {what}", console)
    try:
        with counting(console, "making views") as progress:
            made = make_views(
                table,
                out,
                generators,
                words,
                views=views,
                seed=seed,
                within=within,
                every_split=every_split,
                language=language,
                filters=filters,
                judges=judges,
                batch_size=batch_size,
                progress=progress,
            )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"interrupted: what is done is in {out}; the same command goes on from there"
        ) from None
    for name, counts in summarize(made).items():
        told = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
        tell(f"{name}: {told}", console)
    good = sum(view.rejected is None for view in made)
    tell(f"{good} good views of {len(made)} in {out / 'views.parquet'}", console)
