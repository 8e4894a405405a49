"""Commands for data: `mmer corpus init`, `prepare`, `show`, `audit` and `transcribe`, and `mmer augment`."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmer.cli.options import (
    OUTPUT,
    CorpusPath,
    Device,
    OutFolder,
    OutJson,
    OutTable,
    RecordingsPath,
    Renames,
    Settings,
    label_map,
    out_option,
)
from mmer.display.terminal import messages, print_list, results, tell
from mmer.errors import MMERError, Parameter
from mmer.files.writing import check_output_file, check_output_folder
from mmer.memory import objects_that_stay
from mmer.plain_text import counted

if TYPE_CHECKING:
    from rich.console import Console


def init(folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A folder of recordings.")]) -> None:
    """Write the metadata.csv of a folder, with the speakers and emotions that folder and file names say."""
    from mmer.corpora.folder_table import write_folder_table

    written = write_folder_table(folder)
    _report(messages(), written.notes, written.lines[0])
    for line in written.lines[1:]:
        tell(line)


def prepare(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME ROOT | SOURCE",
            help="A released corpus by name and the folder of its release (for spoken, the folder to write "
            "recordings to); or a table, an audio folder, kaldi:FOLDER, emobox:FOLDER, audformat:FOLDER[:TABLE], "
            "hf:NAME[:CONFIG]. Several become one table. Without any, the corpora that have a name are listed.",
        ),
    ] = None,
    out: Annotated[
        str | None,
        out_option(
            "A .parquet, .csv, .tsv or .jsonl table, kaldi:FOLDER, emobox:FOLDER or audformat:FOLDER."
        ),
    ] = None,
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
    rename: Renames = None,
) -> None:
    """Read corpora into one table or another format, and say what differs from their documentation."""
    from mmer.corpora.formats.emobox import with_emobox_folds
    from mmer.corpora.formats.exchange import check_target, read_from, write_to
    from mmer.corpora.label_map import rename_emotions
    from mmer.corpora.merge import merge
    from mmer.corpora.readers.catalog import list_corpora
    from mmer.display.progress import counting

    if not sources:
        print_list(list_corpora())
        return
    names = list(_sources(sources))
    if out is None:
        raise MMERError("nothing says what to write; name a table with ", Parameter("out"))
    console = messages()
    renamed = label_map(rename)
    maps = [path for path in map(Path, rename or []) if path.is_file()]
    check_target(out, names, [*maps, *([folds] if folds else [])])
    read = []
    for name in names:
        with counting(console, f"reading {name}") as progress:
            read.append(read_from(name, audio, progress))
    corpus = rename_emotions(read[0] if len(read) == 1 else merge(read), renamed)
    if folds:
        corpus = with_emobox_folds(corpus, folds)
    notes = write_to(corpus, out)
    _report(console, [*corpus.notes, *notes], f"{counted(len(corpus), 'utterance')} in {out}")


def _sources(words: Sequence[str]) -> Iterator[str]:
    """Return sources as `read_from` reads them; join a corpus name with the folder after it."""
    from mmer.corpora import READERS, check_corpus_name

    rest = iter(words)
    for word in rest:
        if word in READERS and (root := next(rest, None)) is not None:
            yield f"{word}:{root}"
            continue
        if ":" not in word and not Path(word).suffix and not Path(word).exists():
            check_corpus_name(word)
        yield word


def show(
    corpus: RecordingsPath,
    seconds: Annotated[
        float,
        typer.Option(
            min=0,
            help="Decode recordings for this many seconds, then read headers for as long again; inf decodes all.",
        ),
    ] = 20.0,
    plot: Annotated[
        Path | None,
        typer.Option(
            rich_help_panel=OUTPUT, help="Draw counts and durations into this .png, .svg or .pdf file."
        ),
    ] = None,
) -> None:
    """Count the utterances of a corpus by emotion, split and speaker, and list recordings that cannot be read."""
    from mmer.corpora.clips import TIME_UP, listened_to
    from mmer.corpora.recordings import read_recordings
    from mmer.display.progress import counting

    if plot is not None:
        from mmer.corpora.summary_plot import check_picture

        check_picture(plot, [corpus])
    table = read_recordings(corpus)
    with counting(messages(), "listening", len(table)) as progress:
        table = listened_to(table, seconds, progress)
    results().print(table.summary())
    if any(note.endswith(TIME_UP) for note in table.notes):
        tell("--seconds inf decodes all recordings")
    if plot is not None:
        from mmer.corpora.summary_plot import plot_corpus

        plot_corpus(table.table, plot, title=f"{corpus}: {counted(len(table), 'utterance')}")
        tell(plot)


def transcribe(
    corpus: RecordingsPath,
    source: Annotated[
        str,
        typer.Option(
            "--with",
            help="whisper:NAME-OR-FOLDER of a speech-recognition model, or ctc:MODEL trained with CTC.",
        ),
    ],
    out: OutTable,
    device: Device = None,
) -> None:
    """Transcribe each recording into the column recognized; the same command again continues after an interruption."""
    from mmer.corpora.recordings import read_recordings
    from mmer.display.progress import counting
    from mmer.inference.transcribe_corpus import transcribe as transcribe_corpus

    console, table = messages(), read_recordings(corpus)
    with counting(console, "transcribing", len(table)) as progress:
        written, errors = transcribe_corpus(table, source, out, device=device, progress=progress)
    notes = list(table.notes)
    if unheard := int(written.table["recognized"].isna().sum()):
        notes.append(f"not transcribed: {counted(unheard, 'utterance')} without a readable recording")
    if errors.rate is not None:
        rates = f"word error rate {errors.rate:.1%}, character error rate {errors.character_rate:.1%}"
        notes.append(f"{rates} against {counted(errors.transcripts, 'transcript')}")
    _report(console, notes, f"{counted(len(written), 'utterance')} in {out}")


def audit(
    corpus: CorpusPath,
    by: Annotated[
        str,
        typer.Option(
            help="split: test and validation against train. session, speaker, fold: each against all others."
        ),
    ] = "split",
    out: OutJson = None,
    fail_on: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CONDITION", help="Exit with 1 where this holds, such as 'speaker_overlap>0'; repeatable."
        ),
    ] = None,
    similarity: Annotated[
        float, typer.Option(help="Similarity from which transcripts count as nearly the same, above 0 to 1.")
    ] = 0.8,
    audio: Annotated[bool, typer.Option(help="Read the recordings.")] = True,
    views: Annotated[
        Path | None,
        typer.Option(
            metavar="VIEWS", help="A views.parquet of mmer augment; counts the views that break a fold."
        ),
    ] = None,
) -> None:
    """Measure leakage: the share of test utterances whose speaker, words or recording are in training too."""
    from mmer.corpora.audit.audit import audit as audit_corpus
    from mmer.corpora.audit.conditions import AuditCondition
    from mmer.corpora.corpus import Corpus
    from mmer.display.progress import counting

    conditions = [AuditCondition.parse(text) for text in fail_on or []]
    if out:
        if out.parent.is_dir():
            check_output_file(out, [corpus, *([views] if views else [])])
        else:
            check_output_folder(out.parent)
    made = None
    if views:
        from mmer.corpora.protocol.views import read_views

        made = read_views(views)
    with counting(messages(), "listening") as progress:
        found = audit_corpus(
            Corpus.read(corpus), by, similarity=similarity, listen=audio, progress=progress, views=made
        )
    if out:
        found.write(out)
    results().print(found)
    judged = [condition.judge(found) for condition in conditions]
    for holds, line in judged:
        if holds is not False:
            tell(f"mmer: {line}")
    if any(holds for holds, _ in judged):
        raise typer.Exit(1)


def augment(
    corpus: RecordingsPath,
    speech: Annotated[
        str,
        typer.Option(metavar="GEN[,GEN]", help="Speech generators: yourtts, espeak, world, effects, none."),
    ],
    out: OutFolder,
    settings: Settings = None,
    text: Annotated[
        str,
        typer.Option(
            metavar="GEN",
            help="Text generator: marian:en-de, marian:FORWARD_MODEL,BACK_MODEL, perturb, none.",
        ),
    ] = "none",
    device: Device = None,
) -> None:
    """Make second views of utterances for training; the same command again continues after an interruption."""
    with objects_that_stay():
        from mmer.augment.generators.by_name import speech_generators, text_generator
        from mmer.augment.make import make_views, summarize
        from mmer.augment.measures import load_judges
    from mmer.augment.quality_filters import QualityFilters
    from mmer.augment.settings import AugmentSettings
    from mmer.corpora.recordings import read_recordings
    from mmer.display.progress import counting
    from mmer.recipe.parsing import read_settings

    overrides = [(f"setting {each!r}", each) for each in settings or []]
    chosen = read_settings(AugmentSettings, "", "settings", overrides)
    console = messages()
    check_output_folder(out)
    table = read_recordings(corpus)
    for note in table.notes:
        tell(f"note: {note}", console)
    generators = speech_generators(speech.split(","), device=device)
    words = text_generator(text, sample=chosen.sample, device=device)
    filters = QualityFilters(
        chosen.max_length_ratio, chosen.min_similarity, chosen.max_duration_ratio, chosen.max_error_rate
    )
    judges = load_judges(chosen.similarity if words else None, chosen.asr if generators else None, device)
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
                views=chosen.views,
                seed=chosen.seed,
                within=chosen.within,
                every_split=chosen.every_split,
                language=chosen.language,
                filters=filters,
                judges=judges,
                batch_size=chosen.batch_size,
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


def _report(console: "Console", notes: list[str], outcome: str) -> None:
    for line in (*(f"note: {note}" for note in notes), outcome):
        tell(line, console)
