"""Commands that use a model: `mmer predict`, `explain`, `timeline`, `listen`, `score` and `embed`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from mmer.cli.options import (
    COMPUTING,
    MODEL_HELP,
    OUTPUT,
    WORDS,
    BatchSize,
    Channel,
    Device,
    Format,
    ModelFolder,
    ModelLabels,
    OneSpeaker,
    OutFolder,
    Pause,
    RecordingsPath,
    Transcript,
    Transcription,
    found_source,
    out_option,
)
from mmer.display.terminal import messages, print_result, results, tell, tell_errors
from mmer.errors import MMERError, Parameter

_CERTAINTY = "Confidence of answers"


def predict(
    model: ModelFolder,
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PATH",
            help="Audio or video files, folders, patterns, a corpus table, or - for one file on standard input; "
            "none for a transcript alone.",
        ),
    ] = None,
    transcript: Transcript = None,
    channel: Channel = "mix",
    one_speaker: OneSpeaker = False,
    transcription: Transcription = "given",
    min_confidence: Annotated[
        float | None,
        typer.Option(rich_help_panel=_CERTAINTY, help="Mark answers below this probability as abstained."),
    ] = None,
    coverage: Annotated[
        float | None,
        typer.Option(
            rich_help_panel=_CERTAINTY,
            help="Give label sets that contain the true emotion with this probability, such as 0.9.",
        ),
    ] = None,
    by_class: Annotated[
        bool,
        typer.Option(
            "--by-class",
            rich_help_panel=_CERTAINTY,
            help="Hold the coverage for each emotion, not only on average.",
        ),
    ] = False,
    out: Annotated[
        Path | None,
        out_option("A .jsonl, .csv or .parquet file; standard output by default."),
    ] = None,
    format: Format = None,
    batch_size: BatchSize = 16,
    model_labels: ModelLabels = None,
    device: Device = None,
) -> None:
    """Predict the emotion of recordings; a file that cannot be read becomes a row that says why."""
    from mmer.inference.predict_command import predict_paths

    errors = predict_paths(
        model,
        paths or [],
        transcript=transcript,
        channel=channel,
        one_speaker=one_speaker,
        transcription=transcription,
        min_confidence=min_confidence,
        coverage=coverage,
        by_class=by_class,
        out=out,
        format=format,
        batch_size=batch_size,
        device=device,
    )
    if errors:
        raise typer.Exit(2)


def explain(
    model: ModelFolder,
    clip: Annotated[
        Path | None, typer.Argument(metavar="CLIP", help="A recording; none for a transcript alone.")
    ] = None,
    transcript: Transcript = None,
    other_words: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=WORDS,
            help="Transcript of the counterfactual with the same voice; by default a neutral sentence in the language "
            "of the training.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        out_option("A .png picture or a .json file; a table on standard output by default."),
    ] = None,
    transcription: Transcription = "given",
    model_labels: ModelLabels = None,
    device: Device = None,
) -> None:
    """Explain an answer: the contribution of each word and moment, and what would have changed it."""
    from mmer.inference.explain.explain import explain as explain_utterance
    from mmer.inference.explain.explanation import check_target, explanation_tables, write
    from mmer.inference.inputs import Utterance
    from mmer.inference.recognizer import EmotionRecognizer
    from mmer.inference.transcription import TRANSCRIPT_NOT_USED

    if clip is None and transcript is None:
        raise MMERError(
            "nothing to explain; name a recording, or give what is said with ", Parameter("transcript")
        )
    check_target(out, [model, *([] if clip is None else [clip])])
    recognizer = EmotionRecognizer.from_pretrained(model, device, transcription)
    if transcript is not None and not recognizer.processor.uses_text:
        tell(f"mmer: {TRANSCRIPT_NOT_USED}")
    name = None if clip is not None else "transcript"
    utterance = Utterance(None if clip is None else str(clip), transcript, utterance_id=name)
    with messages().status("explaining"):
        explanation = explain_utterance(recognizer, utterance, other_words=other_words)
    if out is None:
        results().print(explanation_tables(explanation))
    else:
        write(explanation, out)
        print_result(out)


def timeline(
    model: ModelFolder,
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="Audio or video of any length; or a folder, a pattern or a corpus table of several.",
        ),
    ],
    out: Annotated[
        list[Path] | None,
        out_option(
            "A .json, .csv, .html, .srt, .vtt, .TextGrid, .eaf, .txt (Audacity), .rttm, .png, .svg or .pdf file; "
            "repeatable; standard output by default. For several recordings, a folder."
        ),
    ] = None,
    each: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SUFFIX",
            rich_help_panel=OUTPUT,
            help="Of several recordings, also write a file of each, such as .json or .png; repeatable.",
        ),
    ] = None,
    embed_audio: Annotated[
        bool, typer.Option("--embed-audio", rich_help_panel=OUTPUT, help="Put the sound into a .html page.")
    ] = False,
    format: Format = None,
    segments: Annotated[
        Path | None,
        typer.Option(help="Given segments, with their words: .rttm, .TextGrid, .csv, .srt or .vtt."),
    ] = None,
    tier: Annotated[
        list[str] | None, typer.Option(help="Read only this tier of the TextGrid; repeatable.")
    ] = None,
    channel: Channel = "mix",
    one_speaker: OneSpeaker = False,
    speakers: Annotated[
        str | None,
        typer.Option(
            metavar="auto|NUMBER",
            help="Find who speaks, and summarize each: auto, or the number of speakers where it is known.",
        ),
    ] = None,
    smoothing: Annotated[
        float,
        typer.Option(
            min=0, help="Time constant of the smoothing over earlier answers, in seconds; 0 for none."
        ),
    ] = 0.0,
    pause: Pause = 0.5,
    transcription: Transcription = "given",
    batch_size: BatchSize = 16,
    model_labels: ModelLabels = None,
    device: Device = None,
) -> None:
    """Predict an emotion for each segment of speech in recordings of any length."""
    from mmer.inference.timeline.command import timeline_of

    errors = timeline_of(
        model,
        source,
        out or [],
        each=each or [],
        segments=segments,
        tiers=tier,
        channel=channel,
        one_speaker=one_speaker,
        speakers=speakers,
        smoothing=smoothing,
        pause=pause,
        embed_audio=embed_audio,
        format=format,
        transcription=transcription,
        batch_size=batch_size,
        device=device,
    )
    if errors:
        raise typer.Exit(2)


def listen(
    model: ModelFolder,
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="SOURCE",
            help="- for 16-bit PCM, mono, on standard input, or the number or a part of the name of a microphone; "
            "the system's microphone by default.",
        ),
    ] = None,
    rate: Annotated[
        int, typer.Option(min=1000, max=768_000, help="Sampling rate of standard input in Hz.")
    ] = 16000,
    pause: Pause = 0.5,
    every: Annotated[
        float, typer.Option(min=0, help="Seconds of speech between provisional answers; 0 for none.")
    ] = 1.0,
    format: Format = None,
    transcription: Transcription = "none",
    model_labels: ModelLabels = None,
    device: Device = None,
) -> None:
    """Predict live from a microphone or pipe, until Ctrl-C or the end of the pipe."""
    if source not in (None, "-") and (Path(source).exists() or Path(source).suffix[1:].isalpha()):
        raise MMERError(f"listening to {source}: give - for standard input, or nothing for the microphone")
    from mmer.inference.listen_command import listen_to

    listen_to(
        model,
        piped=source == "-",
        rate=rate,
        microphone_name=None if source == "-" else source,
        pause=pause,
        interval=every,
        format=format,
        transcription=transcription,
        device=device,
    )


def score(
    model: ModelFolder,
    source: Annotated[
        str,
        typer.Argument(metavar="SOURCE", help="A corpus table, a folder of recordings, or hf:NAME[:CONFIG]."),
    ],
    out: OutFolder,
    engine: Annotated[
        str,
        typer.Option(
            rich_help_panel=COMPUTING, help="local, or ray: the cluster of RAY_ADDRESS, or this machine."
        ),
    ] = "local",
    shard_rows: Annotated[
        int,
        typer.Option(
            min=1,
            rich_help_panel=OUTPUT,
            help="Rows per file; a file is written when all its rows are finished.",
        ),
    ] = 512,
    transcription: Transcription = "given",
    batch_size: BatchSize = 16,
    workers: Annotated[
        int,
        typer.Option(
            min=1,
            rich_help_panel=COMPUTING,
            help="Number of processes, each with the model; on Ray, actors.",
        ),
    ] = 1,
    model_labels: ModelLabels = None,
    device: Device = None,
) -> None:
    """Score an archive into sharded Parquet; the same command again continues after an interruption."""
    from mmer.inference.archive.score import score as score_archive

    scored = score_archive(
        model,
        source,
        out,
        engine=engine,
        shard_rows=shard_rows,
        transcription=transcription,
        batch_size=batch_size,
        workers=workers,
        device=device,
    )
    tell_errors(scored.errors)
    tell(scored)
    _tell_unlike(scored.unlike, scored.rows)
    if scored.errors:
        raise typer.Exit(2)


def embed(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL|ENCODER",
            callback=found_source,
            help=f"{MODEL_HELP} Or the name or folder of an encoder; or egemaps or functionals.",
        ),
    ],
    corpus: RecordingsPath,
    out: Annotated[
        Path,
        out_option("A .parquet file, or a .npy file, which gets a .csv file of ids and labels beside it."),
    ],
    level: Annotated[
        Literal["utterance", "frame"],
        typer.Option(help="Give each utterance one embedding, or the hidden states of each frame or token."),
    ] = "utterance",
    layers: Annotated[
        str,
        typer.Option(
            "--layer",
            metavar="LAYER",
            help="Of an encoder: last, or numbers of layers, such as 6 or 6,7,8, whose mean is taken.",
        ),
    ] = "last",
    pooling: Annotated[
        Literal["mean", "max"] | None,
        typer.Option(help="Pooling of hidden states over frames or tokens; mean by default."),
    ] = None,
    transcription: Transcription = "given",
    batch_size: BatchSize = 16,
    device: Device = None,
) -> None:
    """Write embeddings of a corpus, with ids and labels; the same command again continues after an interruption."""
    from mmer.corpora.recordings import read_recordings
    from mmer.inference.embedding.embed import embed as embed_corpus

    done = embed_corpus(
        model,
        read_recordings(corpus),
        out,
        level=level,
        layers=layers,
        pooling=pooling,
        transcription=transcription,
        batch_size=batch_size,
        device=device,
    )
    tell_errors(done.errors)
    print_result(done)
    _tell_unlike(done.unlike, done.rows)
    if done.errors:
        raise typer.Exit(2)


def _tell_unlike(unlike: int, recordings: int) -> None:
    """Say how many recordings are unlike those of the training, if any are."""
    from mmer.inference.trust.out_of_distribution import unlike_note

    if (note := unlike_note(unlike, recordings)) is not None:
        tell(f"warning: {note}", style="yellow")
