"""Creation of a corpus's views: words, sound, quality filters, and a journal to resume from."""

import hashlib
import io
import json
import os
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import soundfile

from mmer.audio.load import SAMPLING_RATE, load_audio
from mmer.augment.donors import Donors
from mmer.augment.generators.generator import Material, Sound, SpeechGenerator, TextGenerator, Waveform
from mmer.augment.quality_filters import Judges, QualityFilters, length_ratio
from mmer.augment.views_folder import JOURNAL, ViewsSettings, journal_entry, open_folder, read_journal
from mmer.corpora.corpus import Corpus, Progress
from mmer.corpora.protocol.folds import quoted
from mmer.corpora.protocol.views import View, write_views
from mmer.errors import CorpusError, MMERError, Parameter
from mmer.files.lock import writes
from mmer.files.writing import write_bytes
from mmer.inference.backends.model_folder import local_hash
from mmer.plain_text import counted
from mmer.runs.journal import Journal
from mmer.runs.seeds import seed_for
from mmer.text.error_rates import word_errors
from mmer.text.names import alike


@writes("make_views")
def make_views(
    corpus: Corpus,
    out: str | os.PathLike[str],
    speech: Sequence[SpeechGenerator],
    text: TextGenerator | None = None,
    *,
    views: int = 1,
    seed: int = 0,
    within: str | None = None,
    every_split: bool = False,
    language: str | None = None,
    filters: QualityFilters | None = None,
    judges: Judges | None = None,
    batch_size: int = 16,
    progress: Progress | None = None,
) -> list[View]:
    """Write views of the training utterances of a corpus: `audio/` and `views.parquet`.

    A journal records finished utterances. The same call on the folder of a killed run resumes it and gives the same
    table and samples as an uninterrupted run. Unreadable recordings, and texts or sounds that fail a quality filter,
    are rows with the reason in `rejected`.

    Args:
        corpus: the utterances; where its split column is filled, those of the split `train` get views.
        out: the folder, made if it does not exist.
        speech: speech generators; without one, views have only words.
        text: text generator; None keeps the source's words.
        views: number of views for each utterance and speech generator.
        seed: seed of all random choices, together with the utterance and the generator.
        within: column that source and donor must share, see `Donors`.
        every_split: make views of every utterance, for a cross-validation that does not use the split column.
        language: language of utterances for which the corpus gives none, such as `en`.
        filters: bounds on views.
        judges: models that measure views.
        batch_size: number of utterances whose words are made together.
        progress: called with the number of utterances done so far and of all.

    Returns:
        All views, in the order of the corpus.

    Raises:
        CorpusError: there is no utterance to make views of, a language is unknown or unsupported, or the column
            `within` does not exist.
        MMERError: the folder holds views of other settings or something else.
    """
    folder, filters, judges = Path(out).resolve(), filters or QualityFilters(), judges or Judges()
    sources = _sources(corpus, every_split)
    languages = corpus.table["language"].fillna(language) if language else corpus.table["language"]
    _check_languages(corpus, languages.loc[sources], [*speech, *([text] if text else [])])
    settings = ViewsSettings(
        corpus=_digest(corpus),
        speech={each.name: each.settings for each in speech},
        text={text.name: text.settings} if text else {},
        gates=filters,
        judges=list(judges.names),
        judges_sha256={name: sha256 for name in judges.names if name and (sha256 := local_hash(name))},
        views=views,
        seed=seed,
        within=within,
        every_split=every_split,
        language=language,
        batch_size=batch_size,
    )
    table = corpus.table.assign(language=languages).astype(object)
    rows = table.where(table.notna(), None).to_dict("records")
    donors, similar = Donors(corpus, within), alike(table["utterance_id"])
    maker = _Maker(rows, folder, list(speech), text, donors, filters, judges, similar, views, seed)
    open_folder(folder, settings, corpus)
    done = read_journal(folder)
    with Journal(folder / JOURNAL).appending() as append:
        for first in range(0, len(sources), batch_size):
            batch = sources[first : first + batch_size]
            todo = [row for row in batch if rows[row]["utterance_id"] not in done]
            # The whole batch even if part of it is done: a translation depends slightly on its padding.
            words = maker.words(batch) if todo else {}
            for row in todo:
                name = rows[row]["utterance_id"]
                done[name] = maker.views(row, words[row])
                append(journal_entry(name, done[name], folder))
                if progress:
                    progress(len(done), len(sources))
    made = [view for row in sources for view in done[rows[row]["utterance_id"]]]
    write_views(made, folder / "views.parquet")
    return made


def summarize(views: Sequence[View]) -> dict[str, dict[str, int]]:
    """Count the accepted views of each speech generator, and the rejected ones by kind of reason."""
    counts: dict[str, Counter[str]] = {}
    for view in views:
        counts.setdefault(view.speech_generator, Counter())[view.failed or view.rejected or "good"] += 1
    return {name: dict(count) for name, count in counts.items()}


@dataclass(frozen=True, slots=True)
class _Words:
    """Words of a view and the verdict of the quality filters."""

    text: str | None
    seed: int
    length_ratio: float | None = None
    similarity: float | None = None
    rejected: str | None = None


@dataclass(frozen=True)
class _Maker:
    rows: Sequence[Mapping[Hashable, Any]]
    folder: Path
    speech: list[SpeechGenerator]
    text: TextGenerator | None
    donors: Donors
    filters: QualityFilters
    judges: Judges
    similar: set[str]
    count: int
    seed: int

    def words(self, rows: Sequence[int]) -> dict[int, list[_Words]]:
        """Make the words of all views of the utterances in these rows, in batches with one view per utterance."""
        words: dict[int, list[_Words]] = {row: [] for row in rows}
        said = {row: text for row in rows if (text := self.rows[row]["transcript"]) and text.strip()}
        for number in range(self.count):
            seeds = {row: self._seed(row, f"text {number}") for row in rows}
            made: dict[int, str] = {}
            if self.text and said:
                others = self.text(list(said.values()), [seeds[row] for row in said])
                made = dict(zip(said, others, strict=True))
            similar: dict[int, float] = {}
            if self.judges.similarity and made:
                alike = self.judges.similarity([said[row] for row in made], list(made.values()))
                similar = dict(zip(made, alike, strict=True))
            for row in rows:
                if row not in made:
                    words[row].append(_Words(self.rows[row]["transcript"], seeds[row]))
                    continue
                source, text = said[row], made[row]
                reason = self.filters.judge_text(source, text, similar.get(row))
                words[row].append(
                    _Words(text, seeds[row], length_ratio(source, text), similar.get(row), reason)
                )
        return words

    def views(self, row: int, words: Sequence[_Words]) -> list[View]:
        """Make all views of an utterance and write their recordings."""
        source: Waveform | MMERError | None = None
        if self.speech:
            try:
                source = self._load(row)
            except MMERError as error:
                source = error
        if source is None:
            return [self._blank(row, None, number, each) for number, each in enumerate(words)]
        return [
            self._view(row, source, speech, number, each)
            for speech in self.speech
            for number, each in enumerate(words)
        ]

    def _view(
        self, row: int, source: Waveform | MMERError, speech: SpeechGenerator, number: int, words: _Words
    ) -> View:
        view = self._blank(row, speech, number, words)
        if isinstance(source, MMERError):
            return replace(view, rejected=f"source: {source}", failed="source")
        if view.rejected:
            return view
        reference = None
        if speech.clones:
            try:
                donor = self.donors.draw(row, np.random.default_rng(view.seed))
                reference = self._load(donor)
            except MMERError as error:
                return replace(view, rejected=f"voice: {error}", failed="voice")
            speaker = self.rows[donor]["speaker"]
            view = replace(view, voice=speaker, voices=(speaker,), donor=self.rows[donor]["utterance_id"])
        try:
            material = Material(source, words.text, self.rows[row]["language"], reference)
            sound = speech(material, view.seed)
        except MMERError as error:
            return replace(view, rejected=f"{speech.name}: {error}", failed=speech.name)
        # The recording keeps its own words, whatever the text branch reads.
        said = words.text if speech.speaks else self.rows[row]["transcript"]
        return self._judged(view, sound, len(source), said)

    def _judged(self, view: View, sound: Sound, source_samples: int, said: str | None) -> View:
        waveform = sound.waveform
        ratio = len(waveform) / source_samples
        error_rate, reason = None, self.filters.judge_sound(waveform, ratio, None)
        if reason is None and self.judges.recognizer and said:
            error_rate = word_errors([said], [self.judges.recognizer(waveform)]).character_rate
            reason = self.filters.judge_sound(waveform, ratio, error_rate)
        path = None
        if reason is None:
            file = quoted(view.view_id, hashed=view.source_utterance in self.similar)
            path = str(self.folder / "audio" / f"{file}.flac")
            _write(path, waveform)
        return replace(
            view,
            audio_path=path,
            settings=json.dumps(sound.settings),
            voice=sound.voice or view.voice,
            duration=len(waveform) / SAMPLING_RATE,
            duration_ratio=ratio,
            error_rate=error_rate,
            rejected=reason,
        )

    def _blank(self, row: int, speech: SpeechGenerator | None, number: int, words: _Words) -> View:
        """Return a view without its sound."""
        source = self.rows[row]
        name = speech.name if speech else "none"
        speaker = () if source["speaker"] is None else (source["speaker"],)
        own = speech is not None and not (speech.speaks or speech.clones)
        return View(
            view_id=f"{source['utterance_id']}.{name}-{number + 1}",
            source_utterance=source["utterance_id"],
            audio_path=None,
            transcript=words.text,
            speech_generator=name,
            text_generator=self.text.name if self.text else "none",
            settings="{}",
            voice=speaker[0] if own and speaker else None,
            voices=speaker if own else (),
            texts=speaker,
            donor=None,
            seed=self._seed(row, f"{name} {number}") if speech else words.seed,
            length_ratio=words.length_ratio,
            similarity=words.similarity,
            rejected=words.rejected,
        )

    def _load(self, row: int) -> Waveform:
        source = self.rows[row]
        if source["audio_path"] is None:
            raise MMERError("no recording is named")
        return load_audio(source["audio_path"], start=source["start"], end=source["end"])

    def _seed(self, row: int, what: str) -> int:
        return seed_for(self.seed, what, self.rows[row]["utterance_id"])


def _digest(corpus: Corpus) -> str:
    """Hash everything but the paths of recordings."""
    table = corpus.table.drop(columns=["audio_path", "duration"])
    return hashlib.sha256(table.to_json(orient="split", default_handler=str).encode()).hexdigest()


def _sources(corpus: Corpus, every_split: bool) -> list[int]:
    """Return the rows that get views."""
    splits = corpus.table["split"]
    if every_split or splits.isna().all():
        return corpus.table.index.tolist()
    rows = corpus.table.index[splits == "train"].tolist()
    if not rows:
        raise CorpusError(
            f"{corpus.source}: no utterance is in the split train; ",
            Parameter("every_split", True),
            " makes views of all",
        )
    return rows


def _check_languages(
    corpus: Corpus, languages: pd.Series, generators: Sequence[SpeechGenerator | TextGenerator]
) -> None:
    present = sorted(languages.dropna().unique())
    for generator in generators:
        if getattr(generator, "speaks", False) and languages.isna().any():
            found = f"{counted(languages.isna().sum(), 'utterance', 'has', 'have', of=len(languages))} no language"
            raise CorpusError(
                f"{corpus.source}: {found}, which {generator.name} must know; give it, as ",
                Parameter("language", "en"),
            )
        known = generator.languages
        wrong = [name for name in present if known is not None and name.lower().split("-")[0] not in known]
        if wrong and known is not None:
            found = f"utterances are in {wrong[0]}, and {generator.name} knows {', '.join(sorted(known))}"
            raise CorpusError(f"{corpus.source}: {found}; choose another generator")


def _write(path: str, waveform: Waveform) -> None:
    """Write a recording atomically; attenuate one that exceeds full scale."""
    peak = float(np.abs(waveform).max())
    os.makedirs(os.path.dirname(path), exist_ok=True)
    sound = io.BytesIO()
    soundfile.write(sound, waveform / max(1.0, peak), SAMPLING_RATE, format="FLAC", subtype="PCM_16")
    write_bytes(path, sound.getvalue())
