"""The `mmer corpus` commands: one small function for each."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmer.display.terminal import messages, results, tell
from mmer.files.writing import check_output_file, check_output_folder

if TYPE_CHECKING:
    from rich.console import Console

corpus_app = typer.Typer(help="Read, check and look at corpora.", no_args_is_help=True)

CorpusPath = Annotated[
    Path,
    typer.Argument(
        metavar="CORPUS", help="A .parquet, .csv, .tsv or .jsonl table, or a folder with metadata.csv."
    ),
]
RecordingsPath = Annotated[
    Path,
    typer.Argument(
        metavar="CORPUS", help="A .parquet, .csv, .tsv or .jsonl table, or a folder of recordings."
    ),
]
LabelMapFile = Annotated[
    Path | None,
    typer.Option("--label-map", help="A .yaml, .json or .csv file of new names, as in excited: happy."),
]


@corpus_app.command("list")
def corpus_list() -> None:
    """List the corpora that can be prepared: size, license and where to get them."""
    from mmer.corpora.readers.catalog import list_corpora

    results().print(list_corpora(), soft_wrap=True)


@corpus_app.command("prepare")
def corpus_prepare(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name of `mmer corpus list`.")],
    root: Annotated[
        Path,
        typer.Argument(
            metavar="ROOT", help="The unpacked release; for spoken, the folder to write recordings to."
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The table to write: .parquet, .csv, .tsv or .jsonl.")
    ],
) -> None:
    """Read a released corpus into one table, and say what differs from its documentation."""
    from mmer.corpora import read_corpus
    from mmer.corpora.formats.exchange import check_target
    from mmer.display.progress import counting

    console = messages()
    check_target(str(out), [str(root.absolute())])
    with counting(console, f"reading {name}") as progress:
        corpus = read_corpus(name, root, progress=progress)
    corpus.write(out)
    _report(console, corpus.notes, f"{len(corpus)} utterances in {out}")


@corpus_app.command("convert")
def corpus_convert(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A table, an audio folder, kaldi:FOLDER, emobox:FOLDER, audformat:FOLDER[:TABLE], hf:NAME[:CONFIG].",
        ),
    ],
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET",
            help="A .parquet, .csv, .tsv or .jsonl table, kaldi:FOLDER, emobox:FOLDER or audformat:FOLDER.",
        ),
    ],
    audio: Annotated[
        Path | None,
        typer.Option(
            help="Folder that paths of kaldi and emobox start from, or that recordings of hf are written to."
        ),
    ] = None,
    folds: Annotated[
        Path | None,
        typer.Option(help="Take the folds over from this folder of EmoBox, such as EmoBox/data/iemocap."),
    ] = None,
    label_map: LabelMapFile = None,
) -> None:
    """Read or write a corpus in the format of Kaldi, EmoBox, audformat or Hugging Face."""
    from mmer.corpora.formats.emobox import with_emobox_folds
    from mmer.corpora.formats.exchange import check_target, read_from, write_to
    from mmer.corpora.label_map import read_label_map, rename_emotions
    from mmer.display.progress import counting

    console = messages()
    renamed = read_label_map(label_map) if label_map else {}
    check_target(target, [source], [path for path in (label_map, folds) if path])
    with counting(console, f"reading {source}") as progress:
        corpus = rename_emotions(read_from(source, audio, progress), renamed)
    if folds:
        corpus = with_emobox_folds(corpus, folds)
    notes = write_to(corpus, target)
    _report(console, [*corpus.notes, *notes], f"{len(corpus)} utterances in {target}")


@corpus_app.command("merge")
def corpus_merge(
    sources: Annotated[
        list[str], typer.Argument(metavar="SOURCE...", help="Tables, or what `mmer corpus convert` reads.")
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The table to write: .parquet, .csv, .tsv or .jsonl.")
    ],
    label_map: LabelMapFile = None,
) -> None:
    """Put several corpora into one table, with emotions of the same names and speakers kept apart."""
    from mmer.corpora.formats.exchange import check_target, read_from
    from mmer.corpora.label_map import read_label_map, rename_emotions
    from mmer.corpora.merge import merge

    renamed = read_label_map(label_map) if label_map else {}
    check_target(str(out), sources, [label_map] if label_map else [])
    corpus = rename_emotions(merge([read_from(source) for source in sources]), renamed)
    corpus.write(out)
    _report(messages(), corpus.notes, f"{len(corpus)} utterances in {out}")


@corpus_app.command("show")
def corpus_show(
    corpus: RecordingsPath,
    seconds: Annotated[
        float,
        typer.Option(
            min=0,
            help="Decode recordings for so long, then read headers for as long again; inf decodes all.",
        ),
    ] = 20.0,
) -> None:
    """Count the utterances of a corpus by emotion, split and speaker, and list recordings that cannot be read."""
    from mmer.corpora.clips import listened_to
    from mmer.corpora.recordings import read_recordings
    from mmer.display.progress import counting

    table = read_recordings(corpus)
    with counting(messages(), "listening", len(table)) as progress:
        table = listened_to(table, seconds, progress)
    results().print(table.summary())


@corpus_app.command("transcribe")
def corpus_transcribe(
    corpus: RecordingsPath,
    source: Annotated[
        str,
        typer.Option(
            "--with",
            help="whisper:NAME-OR-FOLDER of a speech-recognition model, or ctc:MODEL trained with CTC.",
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The table to write: .parquet, .csv, .tsv or .jsonl.")
    ],
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda or cuda:N; the first GPU if there is one.")
    ] = None,
) -> None:
    """Write what is heard in each recording into the column recognized; goes on after an interruption."""
    from mmer.corpora.recordings import read_recordings
    from mmer.display.progress import counting
    from mmer.inference.transcribe import transcribe

    console, table = messages(), read_recordings(corpus)
    with counting(console, "transcribing", len(table)) as progress:
        written, errors = transcribe(table, source, out, device=device, progress=progress)
    notes = list(table.notes)
    if unheard := int(written.table["recognized"].isna().sum()):
        notes.append(f"{unheard} utterances have no readable recording and were not heard")
    if errors.rate is not None:
        rates = f"word error rate {errors.rate:.1%}, character error rate {errors.character_rate:.1%}"
        notes.append(f"{rates} against {errors.transcripts} transcripts")
    _report(console, notes, f"{len(written)} utterances in {out}")


@corpus_app.command("audit")
def corpus_audit(
    corpus: CorpusPath,
    by: Annotated[
        str,
        typer.Option(
            help="split: test and validation against train. session, speaker, fold: each against all others."
        ),
    ] = "split",
    json: Annotated[Path | None, typer.Option(help="Write everything to this file.")] = None,
    fail_on: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CONDITION", help="Exit with 1 where this holds, such as 'speaker_overlap>0'; repeatable."
        ),
    ] = None,
    similarity: Annotated[
        float, typer.Option(help="From which transcripts are nearly the same, above 0 to 1.")
    ] = 0.8,
    audio: Annotated[bool, typer.Option(help="Read the recordings.")] = True,
    views: Annotated[
        Path | None,
        typer.Option(metavar="VIEWS", help="A views.parquet of mmer augment: which break a fold?"),
    ] = None,
) -> None:
    """Measure how much of what is tested is in training too: speakers, words, recordings."""
    from mmer.corpora.audit.audit import audit
    from mmer.corpora.audit.conditions import AuditCondition
    from mmer.corpora.corpus import Corpus
    from mmer.display.progress import counting

    conditions = [AuditCondition.parse(text) for text in fail_on or []]
    if json:
        if json.parent.is_dir():
            check_output_file(json, [corpus, *([views] if views else [])])
        else:
            check_output_folder(json.parent)
    made = None
    if views:
        from mmer.corpora.views import read_views

        made = read_views(views)
    with counting(messages(), "listening") as progress:
        found = audit(
            Corpus.read(corpus), by, similarity=similarity, listen=audio, progress=progress, views=made
        )
    if json:
        found.write(json)
    results().print(found)
    judged = [condition.judge(found) for condition in conditions]
    for holds, line in judged:
        if holds is not False:
            tell(f"mmer: {line}")
    if any(holds for holds, _ in judged):
        raise typer.Exit(1)


def _report(console: "Console", notes: list[str], outcome: str) -> None:
    for line in (*(f"note: {note}" for note in notes), outcome):
        tell(line, console)
