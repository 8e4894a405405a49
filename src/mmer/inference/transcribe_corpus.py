"""Transcribe a corpus with a speech recognizer, into the column `recognized` beside the reference transcripts."""

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from mmer.audio.load import SAMPLING_RATE, load_audio
from mmer.corpora.content import files_sha256
from mmer.corpora.corpus import RECOGNIZED, Corpus
from mmer.errors import AudioError, MMERError
from mmer.files.lock import only_file_writer
from mmer.files.writing import check_output_file
from mmer.inference.backends.model_folder import local_hash
from mmer.inference.backends.models import model_folder, read_model_processor
from mmer.inference.inputs import Utterance, corpus_utterances
from mmer.inference.recognizer import EmotionRecognizer
from mmer.inference.transcription import SpeechRecognizer
from mmer.runs.journal import Journal
from mmer.runs.resume import differences
from mmer.text.error_rates import WordErrors, word_errors


def transcribe(
    corpus: Corpus,
    source: str,
    out: Path,
    *,
    device: str | None = None,
    progress: Callable[[int], None] | None = None,
) -> tuple[Corpus, WordErrors]:
    """Transcribe each recording of a corpus, and write the corpus with the recognized transcripts.

    What is done is kept beside `out` until all is; the same call goes on from there after an interruption.

    Args:
        corpus: its transcripts are compared with the recognized ones, and not changed.
        source: `whisper:NAME`, a speech-recognition model of transformers, or `ctc:MODEL`, a model folder with a CTC
            head.
        out: the table to write.
        device: see `EmotionRecognizer`.
        progress: called with the number of utterances done so far.

    Returns:
        The corpus with the column `recognized`, None where there is no readable recording, and how far that is from the
        transcripts.

    Raises:
        MMERError: there is no such source, it has no CTC head or does not read, or another process writes the table.
        EncoderError, CheckpointError: the model cannot be loaded.
    """
    kind, _, model = source.partition(":")
    if kind not in ("whisper", "ctc") or not model:
        raise MMERError(
            f"cannot transcribe with {source!r}; give whisper:NAME-OR-FOLDER of a speech-recognition model, or "
            "ctc:MODEL-FOLDER of a model trained with CTC"
        )
    check_output_file(
        out, [*([corpus.source] if corpus.source else []), *([model] if os.path.isdir(model) else [])]
    )
    journal = Journal(out.with_name(f"{out.name}.part.jsonl"))
    with only_file_writer(journal.path, out):
        contents = _contents(corpus)
        source_content = local_hash(model)
        heard = _kept(journal, source, source_content, contents)
        utterances = [
            utterance
            for utterance in corpus_utterances(corpus)
            if utterance.audio is not None and utterance.utterance_id not in heard
        ]
        if utterances:
            hear = _with_whisper if kind == "whisper" else _with_ctc
            transcripts = hear(utterances, model, device)
            with journal.appending() as append:
                for name, text in transcripts:
                    said = {"utterance_id": name, "source": source, "model": source_content, RECOGNIZED: text}
                    append({**said, "content": contents[name]})
                    heard[name] = text
                    if progress:
                        progress(len(heard))
        texts = [heard.get(name) for name in corpus.table["utterance_id"]]
        table = corpus.table.assign(**{RECOGNIZED: np.array(texts, dtype=object)})
        written = Corpus(table, source=corpus.source, notes=corpus.notes)
        written.write(out)
        journal.path.unlink(missing_ok=True)
    pairs = [
        (said, text)
        for said, text in zip(corpus.table["transcript"], texts, strict=True)
        if said is not None and text is not None
    ]
    return written, word_errors([said for said, _ in pairs], [text for _, text in pairs])


def _contents(corpus: Corpus) -> dict[str, str]:
    """Identify the sound of each utterance: SHA-256 of its recording, and the part to read."""
    table = corpus.table[corpus.table["audio_path"].notna()]
    digests = files_sha256(table["audio_path"])
    rows = zip(table["utterance_id"], table["audio_path"], table["start"], table["end"], strict=True)
    return {name: f"{digests[path]} {start} {end}" for name, path, start, end in rows}


def _kept(
    journal: Journal, source: str, model: str | None, contents: Mapping[str, str]
) -> dict[str, str | None]:
    """Read what an interrupted call transcribed with the same model from the same recordings."""
    return {
        entry["utterance_id"]: entry[RECOGNIZED]
        for entry in journal.entries()
        if entry["utterance_id"] in contents
        and not differences(
            entry, {"source": source, "model": model, "content": contents[entry["utterance_id"]]}
        )
    }


def _with_whisper(
    utterances: list[Utterance], model: str, device: str | None
) -> Iterator[tuple[str, str | None]]:
    recognizer = SpeechRecognizer(model, device)

    def hear(utterance: Utterance) -> tuple[str, str | None]:
        assert utterance.path is not None
        assert utterance.utterance_id is not None
        try:
            waveform = load_audio(utterance.path, start=utterance.start, end=utterance.end)
        except AudioError:
            return utterance.utterance_id, None
        return utterance.utterance_id, recognizer(waveform, SAMPLING_RATE)

    return map(hear, utterances)


def _with_ctc(
    utterances: list[Utterance], model: str, device: str | None
) -> Iterator[tuple[str, str | None]]:
    if not read_model_processor(model_folder(model)).uses_text:
        raise MMERError(
            f"{model} does not read words, and so does not recognize them either; give ctc: a model that does "
            "(model.fusion=mmer), or whisper:NAME"
        )
    recognizer = EmotionRecognizer.from_pretrained(model, device, transcription="ctc")
    return ((each.utterance_id, each.transcript) for each in recognizer.predict(utterances))
