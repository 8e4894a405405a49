"""What `evaluate` adds to the figures: intervals, slices, annotators."""

import json
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import pytest
from inference.conftest import LABELS, save_model
from rich.console import Console

from mmer.corpora.corpus import Corpus
from mmer.errors import CorpusError, MMERError
from mmer.evaluation.annotators import judge_by_annotators, soft_labels
from mmer.evaluation.evaluate import evaluate
from mmer.evaluation.intervals import with_intervals
from mmer.evaluation.results import Evaluation
from mmer.evaluation.slices import slices, worst_groups
from mmer.evaluation.terminal_tables import figure_tables
from mmer.inference import EmotionRecognizer
from mmer.text.ctc_alphabet import WAV2VEC2_ALPHABET
from mmer.text.error_rates import accuracy_by_word_errors, word_errors


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model that reads."""
    return save_model(tmp_path_factory.mktemp("model"), fusion="text")


@pytest.fixture
def corpus() -> Corpus:
    count = 120
    table = pd.DataFrame(
        {
            "utterance_id": [f"u{n}" for n in range(count)],
            "audio_path": None,
            "transcript": [" ".join(["I never said that"] * (n % 5)) for n in range(count)],
            "emotion": [
                ["angry", "excited", "neutral", "sad", "bored"][int(n**1.5) % 5] for n in range(count)
            ],
            "speaker": [f"s{n // 20}" for n in range(count)],
            "gender": ["female" if n % 3 else "male" for n in range(count)],
            "votes": [
                json.dumps({"1": ["Anger"], "2": ["Excited" if n % 2 else "Sad"]}) for n in range(count)
            ],
        }
    )
    return Corpus(table)


def test_intervals_slices_and_annotators(model: Path, corpus: Corpus, tmp_path: Path) -> None:
    figures = evaluate(model, corpus, out=tmp_path, label_map={"Excited": "happy"}, device="cpu")
    predictions = pd.read_parquet(tmp_path / "predictions.parquet")
    known = corpus.table[corpus.table["emotion"] != "bored"].reset_index(drop=True)
    assert predictions["utterance_id"].tolist() == known["utterance_id"].tolist()
    assert figures.intervals == with_intervals(predictions, LABELS)
    expected = slices(predictions.join(known[["gender", "transcript"]]), LABELS)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "slices.csv"), expected, check_dtype=False)
    assert set(expected["slice"]) == {"speaker", "gender", "transcript"}
    assert figures.worst_groups == worst_groups(expected)
    soft = soft_labels(Corpus(known), LABELS, {"excited": "happy"})
    assert figures.annotators == judge_by_annotators(predictions, soft)
    assert figures.annotators is not None
    assert figures.annotators.votes == 2 * len(known)
    assert Evaluation.read(tmp_path / "metrics.json") == figures
    with (console := Console(width=160)).capture() as captured:
        console.print(figure_tables(figures))
    printed = captured.get()
    low, high = (getattr(figures.intervals["accuracy"], name) for name in ("low", "high"))
    assert f"{low:.1%} to {high:.1%} (95% interval over 6 speakers)" in printed
    assert "worst gender: " in printed
    assert f"Against {2 * len(known)} votes of annotators" in printed


def test_an_interrupted_evaluation_goes_on(model: Path, corpus: Corpus, tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        if done > 40:
            raise KeyboardInterrupt

    def evaluated(name: str, of: Corpus = corpus) -> tuple[pd.DataFrame, int]:
        shown: list[int] = []
        evaluate(
            model,
            of,
            out=tmp_path / name,
            device="cpu",
            batch_size=8,
            progress=lambda done, _: shown.append(done),
        )
        assert not (tmp_path / name / "predictions.part.jsonl").exists()
        return pd.read_parquet(tmp_path / name / "predictions.parquet"), shown[0]

    whole, first = evaluated("whole")
    kept = []
    for name in ("again", "other"):
        with pytest.raises(
            KeyboardInterrupt, match=r"[34]\d of 75 answers are in .*predictions\.part\.jsonl"
        ) as error:
            evaluate(model, corpus, out=tmp_path / name, device="cpu", batch_size=8, progress=interrupt)
        kept.append(int(str(error.value).removeprefix("interrupted: ").split()[0]))
        with (tmp_path / name / "predictions.part.jsonl").open("a") as part:
            part.write('{"place": 74, "row"')  # a line that a kill cut off
    again, first_again = evaluated("again")
    pd.testing.assert_frame_equal(again, whole)
    assert first_again == first + kept[0]
    shorter = Corpus(corpus.table.assign(transcript="I said that"))
    other, first_other = evaluated("other", shorter)
    assert first_other == first
    pd.testing.assert_frame_equal(other, evaluated("shorter", shorter)[0])


def test_without_speakers_votes_and_groups(model: Path, corpus: Corpus) -> None:
    columns = ["utterance_id", "audio_path", "emotion"]
    figures = evaluate(
        model, Corpus(corpus.table[columns]).select(corpus.table["emotion"] == "sad"), device="cpu"
    )
    assert figures.annotators is None
    assert figures.worst_groups == {}
    with (console := Console(width=160)).capture() as captured:
        console.print(figure_tables(figures))
    count = figures.utterances
    assert captured.get().count(f"no interval: {count} of {count} utterances have no speaker") == 1


def test_votes_are_read_before_the_recordings(model: Path, corpus: Corpus) -> None:
    with pytest.raises(CorpusError, match="votes of 'u0' are not of the form"):
        evaluate(model, Corpus(corpus.table.assign(votes="angry")), device="cpu")


@pytest.fixture(scope="module")
def versatile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model with missing-modality embeddings and a CTC head."""
    return save_model(
        tmp_path_factory.mktemp("versatile"), missing_modality_embeddings=True, ctc_symbols=WAV2VEC2_ALPHABET
    )


@pytest.fixture
def spoken(nemo_samples: Path) -> Corpus:
    """Recordings of six speakers, two of which were not written down, and one transcript without sound."""
    paths = sorted(nemo_samples.glob("*.opus"))[::130]
    count = len(paths)
    table = pd.DataFrame(
        {
            "utterance_id": [f"u{n}" for n in range(count)],
            "audio_path": [*map(str, paths[:-1]), None],
            "transcript": [None, None, *["nie wiem co"] * (count - 2)],
            "emotion": [LABELS[n % 4] for n in range(count)],
            "speaker": [f"s{n % 6}" for n in range(count)],
        }
    )
    return Corpus(table)


def test_the_three_conditions_of_a_model_with_missing_modality_embeddings(
    versatile: Path, spoken: Corpus, tmp_path: Path
) -> None:
    figures = evaluate(versatile, spoken, out=tmp_path, device="cpu")
    predictions = pd.read_parquet(tmp_path / "predictions.parquet")
    count = len(spoken)
    assert figures.utterances == count
    both = predictions.iloc[2:-1]
    recognizer = EmotionRecognizer.from_pretrained(versatile, "cpu")
    alone = recognizer.predict_corpus(Corpus(spoken.table.assign(transcript=None).iloc[:-1]))
    assert both["predicted_speech_alone"].tolist() == alone["predicted"].tolist()[2:]
    for name, answers in (
        ("both", both["predicted"]),
        ("speech", both["predicted_speech_alone"]),
        ("text", both["predicted_text_alone"]),
    ):
        assert figures.modalities is not None
        found = figures.modalities[name]
        judged = both.assign(predicted=answers)
        assert found.utterances == count - 3
        assert found.accuracy == pytest.approx((answers == both["emotion"]).mean())
        assert found.intervals == with_intervals(judged, LABELS)
    with (console := Console(width=160)).capture() as captured:
        console.print(figure_tables(figures))
    assert f"The {count - 3} utterances with both" in captured.get()
    assert "sound alone" in captured.get()
    assert figures.transcripts is None
    assert Evaluation.read(tmp_path / "metrics.json") == figures


def test_what_a_model_hears_is_compared(versatile: Path, spoken: Corpus, tmp_path: Path) -> None:
    figures = evaluate(versatile, spoken, out=tmp_path, transcription="ctc", device="cpu")
    predictions = pd.read_parquet(tmp_path / "predictions.parquet")
    assert predictions["transcript_source"].tolist() == ["ctc"] * (len(spoken) - 1) + ["given"]
    heard = predictions["text"].tolist()[2:-1]
    expected = word_errors(["nie wiem co"] * len(heard), heard)
    assert figures.transcripts is not None
    assert asdict(figures.transcripts) == {"condition": "ctc", **expected.to_dict()}
    assert predictions["word_error_rate"].isna().tolist() == [True] * 2 + [False] * len(heard) + [True]
    assert figures.accuracy_by_word_error_rate == accuracy_by_word_errors(predictions)
    assert (tmp_path / "accuracy_by_word_error_rate.png").stat().st_size > 10_000
    with (console := Console(width=160)).capture() as captured:
        console.print(figure_tables(figures))
    assert f"transcripts: ctc, word error rate {expected.rate:.1%}, character error rate" in captured.get()
    assert "Accuracy by word error rate" in captured.get()


def test_nothing_to_read(versatile: Path, spoken: Corpus) -> None:
    figures = evaluate(versatile, spoken, transcription="none", device="cpu")
    assert figures.left_out["no_answer"] == 1  # the transcript without sound
    assert figures.transcripts is not None
    assert figures.transcripts.word_error_rate == 1
    assert figures.modalities is None


def test_one_way_to_change_transcripts(versatile: Path, spoken: Corpus) -> None:
    with pytest.raises(MMERError, match=r"transcripts wer:0\.5 and transcription ctc exclude each other"):
        evaluate(versatile, spoken, transcripts="wer:0.5", transcription="ctc", device="cpu")
