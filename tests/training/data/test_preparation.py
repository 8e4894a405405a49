import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from rich.console import Console

from mmer.corpora.corpus import Corpus
from mmer.errors import CheckpointError, CorpusError, EncoderError, RecipeError
from mmer.recipe.schema import load_recipe
from mmer.training.crossval.baseline_runs import cross_validate_baseline
from mmer.training.crossval.crossval import cross_validate
from mmer.training.data.preparation import as_judged, prepare, read_preparation, write_preparation
from mmer.training.run import train

RATE = 16_000


@pytest.fixture
def spoiled(tones: Path, tmp_path: Path) -> Path:
    """The tones with a damaged, a text, an empty, a NaN, a missing, a long, an unlabeled and another recording."""
    table = Corpus.read(tones).table
    (tmp_path / "text.wav").write_text("this is not sound")
    (tmp_path / "empty.wav").write_bytes(b"")
    soundfile.write(tmp_path / "nan.wav", np.full(RATE, np.nan, np.float32), RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "long.wav", np.zeros(RATE * 8, np.float32) + 0.1, RATE)
    whole = (tones.parent / "A_sad_0.wav").read_bytes()
    (tmp_path / "damaged.wav").write_bytes(whole[: len(whole) // 2])
    bad = [
        ("damaged", "sad"),
        ("text", "sad"),
        ("empty", "sad"),
        ("nan", "sad"),
        ("gone", "sad"),
        ("long", "sad"),
    ]
    rows = [
        {
            "utterance_id": name,
            "audio_path": str(tmp_path / f"{name}.wav"),
            "emotion": emotion,
            "speaker": "A",
        }
        for name, emotion in [*bad, ("unlabeled", None), ("other", "bored")]
    ]
    path = tmp_path / "spoiled.parquet"
    Corpus(pd.concat([table, pd.DataFrame(rows)], ignore_index=True)).write(path)
    return path


def test_nothing_is_lost_silently(spoiled: Path, tiny):
    labels = "data.labels=[sad, calm, angry]"
    preparation = prepare(tiny(labels, "data.max_duration=5", corpus=spoiled))
    assert preparation.labels == ["sad", "calm", "angry"]
    assert len(preparation.corpus) == 36
    assert len(preparation.corpus) + len(preparation.skipped) == len(Corpus.read(spoiled))
    reasons = preparation.skipped.set_index("utterance_id")
    assert set(reasons.index) == {"damaged", "text", "empty", "nan", "gone", "long", "unlabeled", "other"}
    assert set(reasons["what"]) == {"left out"}
    assert reasons["kind"].value_counts().to_dict() == {
        "unreadable": 5,
        "longer than 5 s": 1,
        "without emotion": 1,
        "of other emotions": 1,
    }
    assert "NaN" in str(reasons.loc["nan", "reason"])
    assert "gone.wav" in str(reasons.loc["gone", "reason"])
    assert reasons.loc["long", "reason"] == "8.00 s long"
    assert reasons.loc["other", "reason"] == "bored is not among data.labels"


def test_splits_keep_speakers_apart(tiny):
    table = prepare(tiny()).corpus.table
    assert table.groupby("speaker")["split"].agg(set).to_dict() == {
        "A": {"train"},
        "B": {"train"},
        "C": {"validation"},
        "D": {"test"},
    }
    assert table["duration"].between(0.39, 0.91).all()


def test_crop_is_written_into_the_table(tiny):
    preparation = prepare(tiny("data.crop_duration=0.6"))
    table, cut = preparation.corpus.table, preparation.skipped
    assert set(cut["what"]) == {"cut"}
    assert 0 < len(cut) < len(table) == 36
    is_cut = table["utterance_id"].isin(cut["utterance_id"])
    assert (table.loc[is_cut, ["start", "end", "duration"]] == [0.0, 0.6, 0.6]).all(axis=None)
    assert table.loc[~is_cut, "end"].isna().all()
    assert (table.loc[~is_cut, "duration"] <= 0.6).all()


def test_text_only_needs_no_recordings(tones: Path, tiny, tmp_path: Path):
    table = Corpus.read(tones).table.assign(audio_path=None)
    Corpus(table).write(tmp_path / "text.parquet")
    preparation = prepare(tiny("model.fusion=text", corpus=tmp_path / "text.parquet"))
    assert len(preparation.corpus) == 36
    with pytest.raises(CorpusError, match=r"none of 36 utterances can be used; .*: no recording is named"):
        prepare(tiny(corpus=tmp_path / "text.parquet"))


def test_written_and_read_back(spoiled: Path, tiny, tmp_path: Path):
    recipe = tiny("data.labels=[sad, calm]", "data.crop_duration=0.5", corpus=spoiled)
    preparation = prepare(recipe)
    write_preparation(preparation, recipe, tmp_path)
    again = read_preparation(tmp_path)
    assert again.labels == ["sad", "calm"]
    assert load_recipe(str(tmp_path / "recipe.yaml")) == recipe
    pd.testing.assert_frame_equal(again.corpus.table, preparation.corpus.table)
    assert again.skipped.to_dict("records") == preparation.skipped.to_dict("records")


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["data.corpus=null"], "data.corpus is not set"),
        (
            ["protocol.validation=0"],
            "validation split is empty; set protocol.validation=1 or more, or protocol.selection=last, which keeps",
        ),
        (
            ["protocol={test: [A, B, C], validation: 0}"],
            "validation split is empty; set protocol.selection=last, which keeps the last epoch",
        ),
        (["protocol={test: [A, B, C], validation: 1}"], "has 1 speaker besides the tested, too few for 1 to"),
        (["protocol={test: [A, B, C, D], validation: 1}"], "no utterance is left to train on"),
        (["protocol={test: [], validation: 0, selection: test}"], "split column is empty"),
        (["protocol={test: [A, B], validation: [C, D]}"], "no utterance is left to train on"),
        (["protocol={test: [A, B, C, D], validation: 0}"], "train on; leave a speaker out of protocol.test"),
        (["data.labels=[sad, hapy]"], "no utterance is 'hapy'"),
        (
            ["protocol.folds=5"],
            r"protocol.folds is 5, which cross_validate\(\) trains; for one fold set it to null",
        ),
        (["protocol.style=scripted"], "has no column improvised, which protocol.style: scripted needs"),
        (["protocol.group=dialogue"], "no column 'dialogue' to group by"),
        (["protocol.text_disjoint=true"], r"no utterance is left .*text_disjoint left out 27 utterances"),
    ],
)
def test_recipes_that_cannot_be_followed(tiny, overrides: list[str], told: str):
    with pytest.raises((RecipeError, CorpusError), match=told):
        prepare(tiny(*overrides))


def test_an_entry_of_the_label_map_that_meets_nothing_is_a_note(tiny):
    recipe = tiny(
        "data={label_map: {excited: calm, sadd: sad, Angry: furious}, labels: [calm, furious, sad]}"
    )
    preparation = prepare(recipe)
    assert preparation.notes == (
        "data.label_map: no utterance is 'excited', so none of them becomes 'calm'",
        "data.label_map: no utterance is 'sadd', the nearest is 'sad', so none of them becomes 'sad'",
    )
    assert preparation.corpus.emotions == ["calm", "furious", "sad"]
    assert len(preparation.corpus) == 36


def test_channels_that_cancel_are_told_once(tones: Path, tiny, tmp_path: Path):
    table = Corpus.read(tones).table
    for number in range(4):
        mono, rate = soundfile.read(str(table.loc[number, "audio_path"]))
        table.loc[number, "audio_path"] = str(tmp_path / f"{number}.wav")
        soundfile.write(tmp_path / f"{number}.wav", np.stack([mono, -0.9 * mono], axis=1), rate)
    Corpus(table).write(tmp_path / "corpus.parquet")
    told = []
    preparation = prepare(tiny(corpus=tmp_path / "corpus.parquet"), lambda *counted: told.append(counted))
    (note,) = preparation.notes
    files = ", ".join(str(tmp_path / f"{number}.wav") for number in range(3))
    assert note == (
        "4 utterances have channels that cancel each other; the quieter of them is left out of the mix: "
        f"{files} and 1 more file"
    )
    assert told[-1] == (36, 36)
    assert prepare(tiny()).notes == ()


def test_the_split_has_a_seed_of_its_own(tiny):
    def validating(*overrides: str) -> str:
        (speaker,) = (
            prepare(tiny("protocol.validation=1", *overrides)).part("validation").table["speaker"].unique()
        )
        return speaker

    drawn = {validating(f"protocol.seed={seed}") for seed in range(6)}
    assert len(drawn) > 1
    assert len({validating(f"training.seed={seed}") for seed in range(6)}) == 1


def test_emotion_that_nobody_trains(tones: Path, tiny, tmp_path: Path):
    table = Corpus.read(tones).table
    table.loc[(table["speaker"] == "D") & (table["emotion"] == "sad"), "emotion"] = "afraid"
    table["emotion"] = table["emotion"].replace("calm", "calm, [so to say]")
    Corpus(table).write(tmp_path / "corpus.parquet")
    with pytest.raises(RecipeError, match=r"no training utterance is afraid; .*data.labels=") as caught:
        prepare(tiny(corpus=tmp_path / "corpus.parquet"))
    remedy = str(caught.value).partition("leave it out: ")[2]
    assert prepare(tiny(remedy, corpus=tmp_path / "corpus.parquet")).labels == [
        "angry",
        "calm, [so to say]",
        "sad",
    ]
    with pytest.raises(
        CorpusError, match=r"no utterance is 'calm'.*; put a name with commas.* into quotation marks"
    ):
        prepare(tiny("data.labels=calm, [so to say],sad", corpus=tmp_path / "corpus.parquet"))


def test_improvised_or_scripted_alone(tones: Path, tiny, tmp_path: Path):
    table = Corpus.read(tones).table
    table["improvised"] = [(True, False, None)[i % 3] for i in range(36)]
    path = tmp_path / "styles.parquet"
    Corpus(table).write(path)
    kept = {}
    for style in ("all", "improvised", "scripted"):
        preparation = prepare(tiny(f"protocol.style={style}", corpus=path))
        kept[style] = set(preparation.corpus.table["utterance_id"])
        if style != "all":
            assert set(preparation.skipped["kind"]) == {f"not {style}"}
            assert len(preparation.skipped) == 24
    assert kept["improvised"] == set(table["utterance_id"][0::3])
    assert kept["scripted"] == set(table["utterance_id"][1::3])
    assert len(kept["all"]) == 36
    Corpus(table.assign(improvised="yes")).write(path)
    with pytest.raises(CorpusError, match="its column improvised does not say true or false"):
        prepare(tiny("protocol.style=scripted", corpus=path))


def test_what_the_test_split_says_is_not_trained_on(tones: Path, tiny, tmp_path: Path):
    table = Corpus.read(tones).table
    said = {
        "A_angry_0": "No, never go NOW!",  # the same
        "A_calm_0": "no never go",  # 3 of 4 words: 2 * 3 / 7 = 0.86
        "C_sad_0": "oh no never go now",  # validation, 2 * 4 / 9 = 0.89
        "A_sad_0": "no never now",  # 0.86 as well, the words in blocks of two and one
        "B_calm_0": "never go away now",  # 2 * 3 / 8 = 0.75
        "B_sad_0": None,
        "D_angry_0": "no never go now",
    }
    # A word of its own, without the underscores that part words.
    table["transcript"] = [said.get(name, name.replace("_", "")) for name in table["utterance_id"]]
    path = tmp_path / "said.parquet"
    Corpus(table).write(path)
    exact = {"A_angry_0"}
    near = exact | {"A_calm_0", "C_sad_0", "A_sad_0"}
    wide = near | {"B_calm_0"}
    for similarity, expected in ((1.0, exact), (0.8, near), (0.75, wide)):
        protocol = f"protocol={{text_disjoint: true, text_similarity: {similarity}}}"
        preparation = prepare(tiny(protocol, corpus=path))
        assert set(preparation.skipped["utterance_id"]) == expected
        assert set(preparation.skipped["kind"]) == {"said in the test split"}
        assert set(preparation.corpus.table["utterance_id"]) == set(table["utterance_id"]) - expected
    Corpus(table.assign(transcript=None)).write(path)
    with pytest.raises(RecipeError, match="no utterance of the test split has a transcript"):
        prepare(tiny("protocol.text_disjoint=true", corpus=path))


def test_missing_modality_embeddings_make_use_of_what_is_only_written_down(tones: Path, tiny, tmp_path: Path):
    table = Corpus.read(tones).table
    table.loc[:3, "audio_path"] = None
    table.loc[3:5, "transcript"] = None
    Corpus(table).write(tmp_path / "partial.parquet")
    preparation = prepare(tiny("model.missing_modality_embeddings=true", corpus=tmp_path / "partial.parquet"))
    assert preparation.skipped[["utterance_id", "reason"]].to_numpy().tolist() == [
        [table["utterance_id"][3], "neither a recording nor a transcript is named"]
    ]
    without = prepare(tiny(corpus=tmp_path / "partial.parquet"))
    assert without.skipped["reason"].tolist() == ["no recording is named"] * 4


@pytest.mark.parametrize("column", [None, "recognized"])
def test_recognized_transcripts_must_be_there(tones: Path, tiny, tmp_path: Path, column: str | None):
    table = Corpus.read(tones).table
    Corpus(table.assign(**{column: None}) if column else table).write(tmp_path / "unheard.parquet")
    with pytest.raises(
        CorpusError, match=r"data\.recognized is 0\.5, but nothing is in a column recognized; write it"
    ):
        prepare(tiny("data.recognized=0.5", corpus=tmp_path / "unheard.parquet"))


def test_models_are_judged_on_what_is_recognized_where_they_read_nothing_else(tones: Path, tiny):
    corpus = Corpus.read(tones)
    heard = Corpus(
        corpus.table.assign(recognized=np.array([None, "", *["yes"] * (len(corpus) - 2)], dtype=object))
    )
    assert (
        as_judged(heard, tiny("data.recognized=0.9")).table["transcript"].tolist()
        == corpus.table["transcript"].tolist()
    )
    read = as_judged(heard, tiny("data.recognized=1")).table["transcript"].tolist()
    assert read == [corpus.table["transcript"][0], "", *["yes"] * (len(corpus) - 2)]


def test_one_emotion_is_refused(tones: Path, tmp_path: Path, tiny):
    table = Corpus.read(tones).table
    for emotions, told in (
        ("sad", "every utterance that can be used is 'sad'"),
        (["sad", "Sad "] * 18, "is 'sad'"),
    ):
        Corpus(table.iloc[:36].assign(emotion=emotions)).write(tmp_path / "one.parquet")
        with pytest.raises(CorpusError, match=f"{told}; a model tells two emotions or more apart"):
            prepare(tiny(corpus=tmp_path / "one.parquet"))


def test_what_names_were_taken_for_is_told(tones: Path, tmp_path: Path, tiny):
    table = Corpus.read(tones).table.rename(columns={"emotion": " Emotion"})
    table.loc[::3, "speaker"] = [f"{name.lower()}\u00a0" for name in table.loc[::3, "speaker"]]
    table.to_csv(tmp_path / "names.csv", index=False)
    preparation = prepare(tiny(corpus=tmp_path / "names.csv"))
    assert any(
        "names in the column speaker are written in several ways" in note for note in preparation.corpus.notes
    )
    assert (
        "columns are taken by the names that a corpus has (1): Emotion as emotion" in preparation.corpus.notes
    )
    sides = preparation.corpus.table.groupby(preparation.corpus.table["speaker"].str.casefold())[
        "split"
    ].nunique()
    assert set(sides) == {1}


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (["protocol.test=nobody"], "no speaker 'nobody'; it has A, B, C, D"),
        (["protocol.test=D", "protocol.validation=c"], "no speaker 'c'; it has A, B, C, D"),
        (
            ["protocol.test=[]"],
            r"no test speaker is named and the split column is empty; name some of its speakers",
        ),
        (["protocol.group=room"], "no column 'room' to group by"),
        (["protocol.validation_group=room"], "no column 'room' to group by"),
    ],
)
def test_a_protocol_that_cannot_be_kept_is_refused_before_recordings_are_read(
    settings: list[str], reason: str, tiny, tmp_path: Path
) -> None:
    read: list[int] = []
    with pytest.raises(CorpusError, match=re.escape(reason)):
        prepare(tiny(*settings), lambda done, of: read.append(done))
    assert not read
    if "group" in settings[0]:
        with pytest.raises(CorpusError, match=re.escape(reason)):
            cross_validate(
                tiny("protocol.validation=1", *settings), tmp_path / "folds", console=Console(quiet=True)
            )


def test_where_no_utterance_has_a_speaker_that_is_said_and_not_that_one_is_unknown(
    tones: Path, tiny, tmp_path: Path
) -> None:
    table = Corpus.read(tones).table.assign(speaker=None)
    Corpus(table).write(tmp_path / "nameless.parquet")
    with pytest.raises(CorpusError, match="36 of 36 utterances have no speaker"):
        prepare(tiny("protocol.test=A", corpus=tmp_path / "nameless.parquet"))


@pytest.mark.parametrize(
    ("setting", "error", "reason"),
    [
        ("model.speech.encoder=gone", EncoderError, "encoder 'gone' cannot be loaded"),
        ("model.text.encoder=gone", EncoderError, "encoder 'gone' cannot be loaded"),
        ("model.start_from=gone", CheckpointError, "no model folder at"),
    ],
)
def test_what_training_starts_from_is_looked_for_before_the_corpus_is_read(
    setting: str, error: type[Exception], reason: str, tiny, tones: Path, tmp_path: Path
) -> None:
    console, gone = Console(quiet=True), tmp_path / "gone.parquet"
    with pytest.raises(error, match=reason):
        train(tiny(setting, corpus=gone), tmp_path / "run", console=console)
    with pytest.raises(error, match=reason):
        cross_validate(
            tiny(setting, "protocol.validation=1", corpus=gone), tmp_path / "folds", console=console
        )
    recipe = tiny(setting, "protocol.validation=1")
    baseline = cross_validate_baseline("majority", recipe, tmp_path / "majority", console=console)
    assert len(baseline.metrics.folds) == 4  # which needs none
