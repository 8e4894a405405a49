"""Speakers enrolled from clips without labels are known when single clips come later."""

import io
import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from consoles import quiet
from inference.conftest import save_model
from published_models import save_audio_classifier

from mmer.corpora.corpus import Corpus
from mmer.errors import CheckpointError, CorpusError, MMERError
from mmer.evaluation.evaluate import evaluate
from mmer.inference.archive.score import score
from mmer.inference.backends.bundle import write_bundle
from mmer.inference.backends.models import model_folder
from mmer.inference.enrollment import enroll
from mmer.inference.inputs import Utterance, corpus_utterances
from mmer.inference.recognizer import EmotionRecognizer
from mmer.inference.trust.trained_on import TrainedOn


@pytest.fixture(scope="module")
def per_speaker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("per-speaker"), speech="wav2vec2-bert", normalization="speaker")


def corpus_of(paths: list[str], speakers: list[str | None], table: Path) -> Path:
    rows = {"utterance_id": [Path(path).stem for path in paths], "audio_path": paths}
    Corpus(pd.DataFrame({**rows, "speaker": speakers})).write(table)
    return table


def test_a_single_clip_is_answered_as_among_all_enrolled(
    per_speaker: Path, clips: list[str], tmp_path: Path
) -> None:
    corpus = corpus_of(clips[:5], ["anna", "anna", "anna", "ben", None], tmp_path / "clips.parquet")
    console = quiet()
    folder = enroll(per_speaker, corpus, tmp_path / "enrolled", console=console)
    assert isinstance(console.file, io.StringIO)
    assert (
        "1 speaker cannot be enrolled with fewer than two readable clips; the first is ben"
        in console.file.getvalue()
    )
    plain, enrolled = map(EmotionRecognizer.from_pretrained, (per_speaker, folder))
    known = plain.speaker_statistics(corpus_utterances(Corpus.read(corpus)))
    assert set(enrolled.speakers) == set(known) == {"anna"}
    later = Utterance(clips[5], "la", speaker="anna")
    (expected,) = plain.predict([later], speakers=known)
    (alone,) = enrolled.predict([later])
    (unknown,) = plain.predict([later])
    assert alone.probabilities == expected.probabilities != unknown.probabilities
    assert not any("speaker not known" in warning for warning in alone.warnings)
    among, *_ = enrolled.predict([later, *(Utterance(clip, "la", speaker="anna") for clip in clips[:2])])
    assert among.probabilities == pytest.approx(expected.probabilities, abs=1e-6)
    # Ben is standardized over his clips of the call, as before.
    of_ben = [Utterance(clip, "la", speaker="ben") for clip in clips[3:5]]
    for ours, theirs in zip(enrolled.predict(of_ben), plain.predict(of_ben), strict=True):
        assert ours.probabilities == theirs.probabilities


def test_an_evaluation_does_not_call_them_unknown(
    per_speaker: Path, clips: list[str], tmp_path: Path
) -> None:
    corpus = corpus_of(clips[:2], ["anna", "anna"], tmp_path / "clips.parquet")
    folder = enroll(per_speaker, corpus, tmp_path / "enrolled", console=quiet())
    emotion = EmotionRecognizer.from_pretrained(folder).labels[0]
    later = Corpus.read(corpus_of(clips[4:7], ["anna", "ben", None], tmp_path / "later.parquet"))
    judged = Corpus(later.table.assign(emotion=emotion))
    assert evaluate(folder, judged).unknown_speakers == 2
    TrainedOn.of(Corpus(judged.table.assign(split="train"))).write(folder)
    renamed = tmp_path / "labels.yaml"
    renamed.write_text(f"{emotion}: renamed")
    mapped = model_folder(folder, label_map=renamed)
    assert set(EmotionRecognizer.from_pretrained(mapped).speakers) == {"anna"}
    figures = evaluate(mapped, Corpus(judged.table.assign(emotion="renamed")))
    assert figures.unknown_speakers == 2
    assert figures.in_training is not None
    assert figures.in_training["train"] == 3


def test_a_model_with_other_labels_knows_its_own_speakers_and_those_of_its_model(
    per_speaker: Path, clips: list[str], tmp_path: Path
) -> None:
    of_anna = corpus_of(clips[:2], ["anna", "anna"], tmp_path / "anna.parquet")
    of_ben = corpus_of(clips[2:4], ["ben", "ben"], tmp_path / "ben.parquet")
    enrolled = enroll(per_speaker, of_anna, tmp_path / "enrolled", console=quiet())
    mapped = enroll(model_folder(enrolled, label_map="canonical"), of_ben, tmp_path / "both", console=quiet())
    recognizer = EmotionRecognizer.from_pretrained(mapped)
    assert set(recognizer.speakers) == {"anna", "ben"}
    assert recognizer(clips[4], "la", speaker="ben").warnings == []


def test_every_entrance_knows_them(per_speaker: Path, clips: list[str], tmp_path: Path) -> None:
    corpus = corpus_of(clips[:3], ["anna"] * 3, tmp_path / "clips.parquet")
    folder = enroll(per_speaker, corpus, tmp_path / "enrolled", console=quiet())
    write_bundle(folder, tmp_path / "enrolled.mmer")
    bundled = EmotionRecognizer.from_pretrained(tmp_path / "enrolled.mmer")
    assert set(bundled.speakers) == {"anna"}
    later = corpus_of(clips[4:6], ["anna", "anna"], tmp_path / "later.parquet")
    scored = score(folder, str(later), tmp_path / "scores")
    found = pd.concat(map(pd.read_parquet, scored.files))
    for path, row in zip(clips[4:6], found.to_dict("records"), strict=True):
        expected = bundled(path, speaker="anna").to_row(bundled.labels, [])
        name = f"probability_{bundled.labels[0]}"
        assert row[name] == pytest.approx(expected[name], abs=1e-6)
    again = enroll(
        folder,
        corpus_of(clips[3:5], ["ben"] * 2, tmp_path / "ben.parquet"),
        tmp_path / "both",
        console=quiet(),
    )
    assert set(EmotionRecognizer.from_pretrained(again).speakers) == {"anna", "ben"}


def test_who_learns_nothing_without_labels_is_told_what_helps(clips: list[str], tmp_path: Path) -> None:
    corpus = corpus_of(clips[:2], ["anna", "anna"], tmp_path / "clips.parquet")
    published = save_audio_classifier(tmp_path / "published", "hubert")
    reads = save_model(tmp_path / "reads", fusion="text")
    for model in (published, reads):
        with pytest.raises(MMERError, match=r"fill in the emotions of some clips of .*clips\.parquet$"):
            enroll(model, corpus, tmp_path / "out", console=quiet())


def test_what_cannot_be_enrolled(per_speaker: Path, clips: list[str], tmp_path: Path) -> None:
    nobody = corpus_of(clips[:2], [None, None], tmp_path / "nobody.parquet")
    with pytest.raises(CorpusError, match="names no speaker of whom there are two readable clips"):
        enroll(per_speaker, nobody, tmp_path / "out", console=quiet())
    other = save_model(tmp_path / "other", speech="wav2vec2-group")
    with pytest.raises(MMERError, match=r"does not standardize features per speaker.*fill in the emotions"):
        enroll(other, nobody, tmp_path / "out", console=quiet())
    assert not (tmp_path / "out").exists()
    with pytest.raises(MMERError, match="is neither a folder of enrolled speakers nor an empty folder"):
        enroll(per_speaker, nobody, tmp_path / "other", console=quiet())


def test_the_same_call_goes_on(per_speaker: Path, clips: list[str], tmp_path: Path) -> None:
    corpus, out = corpus_of(clips[:3], ["anna"] * 3, tmp_path / "clips.parquet"), tmp_path / "enrolled"
    folder = enroll(per_speaker, corpus, out, console=quiet())
    known = (folder / "speakers.json").read_bytes()
    console = quiet()
    assert enroll(per_speaker, corpus, out, console=console) == folder
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue() == f"{out} is complete; nothing is left to do.\n"
    shutil.rmtree(folder)  # as after an interruption
    enroll(per_speaker, corpus, out, console=quiet())
    assert (folder / "speakers.json").read_bytes() == known
    other = corpus_of(clips[3:5], ["ben"] * 2, tmp_path / "ben.parquet")
    with pytest.raises(
        MMERError, match="holds speakers enrolled otherwise, different in the corpus; use another"
    ):
        enroll(per_speaker, other, out, console=quiet())
    assert (folder / "speakers.json").read_bytes() == known


@pytest.mark.parametrize("damage", ["text", "short", "zero"])
def test_a_damaged_file_is_refused(per_speaker: Path, clips: list[str], tmp_path: Path, damage: str) -> None:
    corpus = corpus_of(clips[:2], ["anna", "anna"], tmp_path / "clips.parquet")
    folder = enroll(per_speaker, corpus, tmp_path / "enrolled", console=quiet())
    file = folder / "speakers.json"
    content = json.loads(file.read_text())
    anna = content["speakers"]["anna"]
    if damage == "short":
        anna["mean"], anna["std"] = anna["mean"][:3], anna["std"][:3]
    elif damage == "zero":
        anna["std"][0] = 0
    file.write_text("{" if damage == "text" else json.dumps(content))
    with pytest.raises(CheckpointError, match=r"speakers\.json .*enroll the speakers again, or delete it"):
        EmotionRecognizer.from_pretrained(folder)
