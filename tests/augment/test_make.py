import json
import os
import signal
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
from processes import Process

from mmer.augment.donors import Donors
from mmer.augment.generators.by_name import Perturbation
from mmer.augment.generators.espeak_voices import ESpeakVoices
from mmer.augment.generators.generator import Settings, Sound
from mmer.augment.generators.world import World
from mmer.augment.make import make_views, summarize
from mmer.corpora.corpus import Corpus
from mmer.corpora.protocol.views import View, read_views, write_views
from mmer.errors import CorpusError, MMERError

RATE = 16_000


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> pd.DataFrame:
    """Four speakers in two sessions, three emotions; the last recording is none."""
    folder = tmp_path_factory.mktemp("said")
    rows = []
    for speaker, session in (("A", "1"), ("B", "1"), ("C", "2"), ("D", "2")):
        for emotion in ("angry", "calm", "sad"):
            name, seed = f"{speaker}/{emotion}", len(rows)
            time = np.arange(round((0.6 + 0.05 * seed) * RATE)) / RATE
            parts = [np.sin(2 * np.pi * (100 + 10 * seed) * k * time) / k for k in range(1, 9)]
            path = folder / f"{seed}.wav"
            soundfile.write(path, 0.1 * np.sum(parts, axis=0), RATE)
            rows.append(
                {
                    "utterance_id": name,
                    "audio_path": str(path),
                    "transcript": f"they said {emotion} words",
                    "emotion": emotion,
                    "speaker": speaker,
                    "session": session,
                    "language": "en",
                }
            )
    Path(rows[-1]["audio_path"]).write_bytes(b"no sound")
    return pd.DataFrame(rows)


class Cloning:
    """A synthesizer made for the test: the reference, half as loud."""

    name = "cloning"
    languages: Collection[str] | None = None
    speaks = True
    clones = True

    def __init__(self) -> None:
        self.settings: Settings = {}

    def __call__(self, material, seed):
        assert material.reference is not None
        assert material.text
        return Sound(0.5 * material.reference, {"length": len(material.reference)})


def test_rows_and_recordings(table, tmp_path):
    corpus = Corpus(table)
    made = make_views(corpus, tmp_path / "v", [ESpeakVoices(), World()], Perturbation(), views=2)
    assert [view.view_id for view in made[:4]] == [
        "A/angry.espeak-1",
        "A/angry.espeak-2",
        "A/angry.world-1",
        "A/angry.world-2",
    ]
    assert len(made) == 12 * 4
    good = [view for view in made if view.rejected is None]
    words = [view for view in made if str(view.rejected).startswith("text: ")]
    assert len(good) == 11 * 4 - len(words) > 30
    for view in good:
        assert view.audio_path is not None
        info = soundfile.info(view.audio_path)
        assert (info.samplerate, info.channels, info.format) == (RATE, 1, "FLAC")
        assert info.duration == pytest.approx(view.duration)
        assert view.transcript != f"they said {view.source_utterance[2:]} words"
        assert view.texts == (view.source_utterance[0],)
        own = view.speech_generator == "world"
        assert view.voices == ((view.source_utterance[0],) if own else ())
        assert (view.voice == view.source_utterance[0]) == own
        assert own or str(view.voice).startswith("espeak:en+")
        assert json.loads(view.settings)
    bad = [view for view in made if str(view.rejected).startswith("source: ")]
    assert len(bad) == 4
    assert {view.source_utterance for view in bad} == {"D/sad"}
    assert all(view.audio_path is None for view in [*bad, *words])
    assert read_views(tmp_path / "v" / "views.parquet") == made
    counts = summarize(made)
    assert counts["espeak"]["source"] == counts["world"]["source"] == 2
    assert counts["espeak"]["good"] + counts["world"]["good"] == len(good)


def test_ids_that_differ_in_case_alone_have_recordings_of_their_own_where_case_does_not_count(
    table, tmp_path
):
    named = table[:2].assign(utterance_id=["Call-1", "call-1"])
    made = make_views(Corpus(named), tmp_path, [World()])
    assert len({str(view.audio_path).casefold() for view in made}) == 2


def test_views_can_be_moved(table, tmp_path):
    make_views(Corpus(table), tmp_path / "here", [World()])
    (tmp_path / "here").rename(tmp_path / "there")
    views = read_views(tmp_path / "there" / "views.parquet")
    assert all(os.path.isfile(view.audio_path) for view in views if view.audio_path)


def test_words_alone(table, tmp_path):
    made = make_views(Corpus(table.assign(audio_path=None)), tmp_path / "v", [], Perturbation())
    assert all(view.audio_path is None and view.voices == () and view.transcript for view in made)
    assert sum(view.rejected is None for view in made) > 8


def test_without_transcript_the_sound_alone_is_changed(table, tmp_path):
    corpus = Corpus(table[:2].assign(transcript=None))
    made = make_views(corpus, tmp_path / "v", [World(), ESpeakVoices()], Perturbation())
    assert [view.rejected for view in made] == [None, "espeak: no text to speak"] * 2
    assert [view.transcript for view in made] == [None] * 4


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "audio").iterdir()}


def test_a_killed_run_goes_on_where_it_was(table, tmp_path):
    """`kill -9` while views are made, over and over, until the table is there."""
    corpus = tmp_path / "corpus.parquet"
    Corpus(table).write(corpus)
    program = (
        "import sys, time; from mmer.corpora.corpus import Corpus; from mmer.augment.make import make_views\n"
        "from mmer.augment.generators.espeak_voices import ESpeakVoices\n"
        "from mmer.augment.generators.by_name import Perturbation\n"
        "print('ready', flush=True)\n"
        "make_views(Corpus.read(sys.argv[1]), sys.argv[2], [ESpeakVoices()], Perturbation(), views=3, batch_size=5,"
        " progress=lambda done, total: (print(done, flush=True), time.sleep(0.05)))\n"
    )
    counts = []
    for wanted in ("2", "7"):
        process = Process(corpus, tmp_path / "v", program=program, stdout=None)
        assert any(line.strip() == wanted for line in process.stdout)
        process.send_signal(signal.SIGKILL)
        process.wait()
        lines = (tmp_path / "v" / "journal.jsonl").read_text().splitlines()
        counts.append(len({json.loads(each)["utterance"] for each in lines}))
        assert counts[-1] == len(lines)
    assert 2 <= counts[0] < 7 <= counts[1] < 12
    assert not (tmp_path / "v" / "views.parquet").exists()
    arguments: dict[str, Any] = {"views": 3, "batch_size": 5}
    again = make_views(Corpus.read(corpus), tmp_path / "v", [ESpeakVoices()], Perturbation(), **arguments)
    whole = make_views(Corpus.read(corpus), tmp_path / "whole", [ESpeakVoices()], Perturbation(), **arguments)
    assert [view.view_id for view in again] == [view.view_id for view in whole]
    assert [(view.transcript, view.voice, view.settings) for view in again] == [
        (view.transcript, view.voice, view.settings) for view in whole
    ]
    assert files_of(tmp_path / "v") == files_of(tmp_path / "whole")


def test_a_line_cut_off_is_made_again(table, tmp_path):
    corpus = Corpus(table)
    before = make_views(corpus, tmp_path / "v", [ESpeakVoices()])
    journal = tmp_path / "v" / "journal.jsonl"
    whole = journal.read_bytes()
    journal.write_bytes(whole[:-20])
    assert make_views(corpus, tmp_path / "v", [ESpeakVoices()]) == before
    assert journal.read_bytes() == whole


def test_a_recording_that_is_gone_is_made_again(table, tmp_path):
    corpus = Corpus(table)
    before = make_views(corpus, tmp_path / "v", [ESpeakVoices()])
    whole = files_of(tmp_path / "v")
    gone, *others = sorted((tmp_path / "v" / "audio").iterdir())
    gone.unlink()
    times = [path.stat().st_mtime_ns for path in others]
    assert make_views(corpus, tmp_path / "v", [ESpeakVoices()]) == before
    assert files_of(tmp_path / "v") == whole
    assert [path.stat().st_mtime_ns for path in others] == times
    assert read_views(tmp_path / "v" / "views.parquet") == before


def test_only_what_trains_gets_views_unless_asked(table, tmp_path):
    split = table.assign(split=["train"] * 6 + ["validation"] * 3 + ["test"] * 3)
    assert {
        v.source_utterance[0] for v in make_views(Corpus(split), tmp_path / "a", [ESpeakVoices()])
    } == set("AB")
    everyone = make_views(Corpus(split), tmp_path / "b", [ESpeakVoices()], every_split=True)
    assert {view.source_utterance[0] for view in everyone} == set("ABCD")
    with pytest.raises(CorpusError, match="no utterance is in the split train; every_split=True"):
        make_views(Corpus(table.assign(split="test")), tmp_path / "c", [ESpeakVoices()])


class TestDonors:
    def drawn(self, table, row, **settings):
        donors = Donors(Corpus(table), **settings)
        return {table["utterance_id"][donors.draw(row, np.random.default_rng(n))] for n in range(40)}

    def test_same_emotion_other_speaker_session_first(self, table):
        assert self.drawn(table, 0) == {"B/angry"}
        assert self.drawn(table.assign(session=None), 0) == {"B/angry", "C/angry", "D/angry"}
        assert self.drawn(table.assign(session=list("123") * 4), 0) == {"B/angry", "C/angry", "D/angry"}

    def test_the_fold_does_not_count_within_a_session(self, table):
        folds = table.assign(session="1", fold=["1"] * 6 + ["2"] * 6)
        assert self.drawn(folds, 0) == {"B/angry", "C/angry", "D/angry"}
        assert self.drawn(folds.assign(session=None), 0) == {"B/angry"}

    def test_never_from_another_split(self, table):
        split = ["train"] * 3 + ["test"] * 3 + ["train"] * 6
        assert self.drawn(table.assign(split=split), 0) == {"C/angry", "D/angry"}

    def test_within_is_binding(self, table):
        alone = table.assign(fold=["1", "1", "1"] + ["2"] * 9)
        with pytest.raises(MMERError, match="no other voice: nobody else is angry in fold 1"):
            self.drawn(alone, 0, within="fold")
        assert self.drawn(alone, 3, within="fold") == {"C/angry", "D/angry"}
        with pytest.raises(CorpusError, match="no column 'sesion', the nearest is 'session'"):
            Donors(Corpus(table), within="sesion")
        with pytest.raises(CorpusError, match="the column fold is empty"):
            Donors(Corpus(table), within="fold")

    def test_unknown_emotion_or_speaker(self, table):
        for name in ("emotion", "speaker"):
            with pytest.raises(MMERError, match=f"the {name} of the source is not known"):
                self.drawn(table.assign(**{name: None}), 0)

    def test_views_are_stamped_with_the_donor(self, table, tmp_path):
        made = make_views(Corpus(table), tmp_path / "v", [Cloning()], Perturbation())
        view = made[0]
        assert (view.voice, view.voices, view.texts, view.donor) == ("B", ("B",), ("A",), "B/angry")
        assert view.duration == pytest.approx(0.6 + 0.05 * 3)
        assert made[8].rejected is not None
        assert made[8].rejected.startswith(
            "voice: "
        )  # C/sad: the only other one of the session is not readable
        assert made[8].donor is None


def test_other_settings_or_another_corpus_want_another_folder(table, tmp_path):
    make_views(Corpus(table), tmp_path / "v", [ESpeakVoices()])
    with pytest.raises(MMERError, match=r"made otherwise, different in seed; use another folder"):
        make_views(Corpus(table), tmp_path / "v", [ESpeakVoices()], seed=1)
    changed = table.assign(transcript="other words")
    with pytest.raises(MMERError, match="different in what is in the corpus"):
        make_views(Corpus(changed), tmp_path / "v", [ESpeakVoices()])
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "thesis.txt").write_text("mine")
    with pytest.raises(MMERError, match="neither a folder of views nor an empty folder"):
        make_views(Corpus(table), tmp_path / "x", [ESpeakVoices()])


def test_languages(table, tmp_path):
    unknown = Corpus(table.assign(language=None))
    with pytest.raises(
        CorpusError, match="12 of 12 utterances have no language, which espeak must know; give it"
    ):
        make_views(unknown, tmp_path / "v", [ESpeakVoices()])
    made = make_views(unknown, tmp_path / "v", [ESpeakVoices()], language="pl")
    assert str(made[0].voice).startswith("espeak:pl+")
    only_english = World()
    only_english.languages = {"en", "pt"}
    with pytest.raises(CorpusError, match="utterances are in pl, and world knows en, pt"):
        make_views(Corpus(table.assign(language="pl")), tmp_path / "w", [only_english])


def test_a_table_that_cannot_be_used(table, tmp_path):
    with pytest.raises(CorpusError, match=r"cannot be read .*name the views.parquet of make_views"):
        read_views(tmp_path / "none.parquet")
    table.to_parquet(tmp_path / "corpus.parquet")
    with pytest.raises(CorpusError, match="no column view_id; found utterance_id"):
        read_views(tmp_path / "corpus.parquet")
    made = make_views(Corpus(table), tmp_path / "v", [ESpeakVoices()])
    write_views([*made, made[1], made[2]], tmp_path / "v" / "twice.parquet")
    with pytest.raises(
        CorpusError, match=r"view ids are not unique, the first is A/calm\.espeak-1; make the views again"
    ):
        read_views(tmp_path / "v" / "twice.parquet")
    only = {"trained": {made[1].source_utterance}, "speakers": {"A"}}
    assert made[1].breaks(**only) is None
    assert made[0].breaks(**only) == "it is made of A/angry, which is not in training"
    assert made[0].audio_path is not None
    os.unlink(made[0].audio_path)
    with pytest.raises(
        CorpusError, match=r"1 of 11 recordings is not there, the first is .*angry.espeak-1.flac"
    ):
        read_views(tmp_path / "v" / "views.parquet")


@pytest.mark.parametrize("name", ["voices", "texts"])
@pytest.mark.parametrize("value", [None, "A and B"])
def test_voices_and_words_that_are_no_lists_are_refused(tmp_path, name, value):
    path = tmp_path / "views.parquet"
    write_views([View("v", "u", None, "words", "none", "x", "{}", None, ("A",), ("A",), None, 0)], path)
    table = pd.read_parquet(path)
    table.assign(**{name: [value]}).to_parquet(path)
    told = rf"views\.parquet: {name} is {value!r}, not a list of speakers; make the views again"
    with pytest.raises(CorpusError, match=told):
        read_views(path)


def test_views_of_a_corpus_that_has_changed_are_refused(table, tmp_path):
    sounds = [tmp_path / f"{row}.wav" for row in range(3)]
    for path, source in zip(sounds, table["audio_path"], strict=False):
        path.write_bytes(Path(source).read_bytes())
    own = table.iloc[:3].assign(audio_path=[*map(str, sounds)])
    made = make_views(Corpus(own), tmp_path / "v", [World()])
    assert make_views(Corpus(own), tmp_path / "v", [World()]) == made
    with pytest.raises(
        MMERError, match=r"different in what is in the corpus: transcript of 1 utterance.*another folder"
    ):
        make_views(
            Corpus(own.assign(transcript=["new words", *own["transcript"][1:]])), tmp_path / "v", [World()]
        )
    sounds[1].write_bytes(sounds[0].read_bytes())
    with pytest.raises(MMERError, match=r"what is in the corpus: 1 recording \(.*1\.wav\)"):
        make_views(Corpus(own), tmp_path / "v", [World()])


def test_a_table_of_an_earlier_version_is_read(table, tmp_path):
    """It has no column that says what failed."""
    made = make_views(Corpus(table), tmp_path / "v", [World()])
    path = tmp_path / "v" / "views.parquet"
    pd.read_parquet(path).drop(columns="failed").to_parquet(path)
    assert read_views(path) == [replace(view, failed=None) for view in made]
