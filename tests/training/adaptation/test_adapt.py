"""A trained model goes on with the voices and labels of another corpus."""

import io
import re
import runpy
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from commands import run
from consoles import quiet
from inference.conftest import raise_first_logit
from interrupting import Interrupting
from published_models import save_audio_classifier, save_text_classifier
from rich.console import Console
from safetensors.torch import load_file

from mmer.corpora.corpus import Corpus
from mmer.errors import CheckpointError, CorpusError, MMERError, RecipeError
from mmer.evaluation.model_card import write_model_card
from mmer.inference.backends.models import model_folder
from mmer.inference.recognizer import EmotionRecognizer
from mmer.inference.trust.out_of_distribution import OutOfDistribution
from mmer.inference.trust.trained_on import TrainedOn
from mmer.model.processor import MMERProcessor
from mmer.recipe.schema import Recipe, changed_recipe, load_recipe
from mmer.training.adaptation import adapt as module
from mmer.training.adaptation.adapt import Adaptation, adapt, plan_adaptation
from mmer.training.data.feature_store import FeatureStore, TrainingUtterance
from mmer.training.data.preparation import prepare
from mmer.training.data.rehearsal import (
    PREFIX,
    REHEARSED,
    learned_before,
    learned_corpus,
    with_rehearsal,
    without_rehearsal,
)
from mmer.training.run import TrainingRun, train
from mmer.training.starting_model import starting_model

SHORT = ["training.epochs=2", "protocol.refit=false", "data.rehearsal=null"]
ONE_EPOCH = ["training.epochs=1", *SHORT[1:]]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


@pytest.fixture(scope="module")
def base(tiny: Callable[..., Recipe], tmp_path_factory: pytest.TempPathFactory) -> TrainingRun:
    """A model that knows speakers A, B and C, and three emotions."""
    recipe = tiny("model.speech.normalization=corpus", "training.epochs=1", "training.seed=7")
    return train(recipe, tmp_path_factory.mktemp("base") / "run", console=quiet())


def write_part(tones: Path, folder: Path, speakers: str = "D", **columns: Any) -> Path:
    """Write a part of the tones, with other columns, as a user's corpus."""
    table = Corpus.read(tones).table
    table = table[table["speaker"].isin(list(speakers))].assign(**columns).reset_index(drop=True)
    Corpus(table).write(folder / "own.parquet")
    return folder / "own.parquet"


@pytest.fixture
def own(tones: Path, tmp_path: Path) -> Callable[..., Path]:
    return partial(write_part, tones, tmp_path)


def tired_for_sad(table: pd.DataFrame) -> pd.Series:
    return table["emotion"].replace("sad", "tired")


@pytest.fixture(scope="module")
def adapted(
    base: TrainingRun, tones: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[TrainingRun, Path, str]:
    """The model, gone on with to speaker D, the corpus, and what was printed."""
    folder, console = tmp_path_factory.mktemp("adapted"), quiet()
    path = write_part(tones, folder)
    run = adapt(base.model_folder, path, folder / "run", SHORT, console=console)
    assert isinstance(console.file, io.StringIO)
    return run, path, " ".join(console.file.getvalue().split())


@pytest.fixture(scope="module")
def tired(
    base: TrainingRun, tones: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[TrainingRun, Path]:
    """The model, gone on with to clips of which some are tired and none is sad, and their corpus."""
    folder = tmp_path_factory.mktemp("tired")
    path = write_part(tones, folder, emotion=tired_for_sad)
    settings = [*SHORT, "training.average_with_start=0"]
    return adapt(base.model_folder, path, folder / "run", settings, console=quiet()), path


def test_weights_and_statistics_are_those_of_the_model(base: TrainingRun, own, tmp_path: Path) -> None:
    """With a pull of its whole way back, a step changes the classifier alone."""
    all_of_it = [*ONE_EPOCH, "training.pull_to_start=1e9", "training.warmup_ratio=0"]
    adapted = adapt(base.model_folder, own(), tmp_path / "adapted", all_of_it, console=quiet())
    before, after = weights(base.model_folder), weights(adapted.model_folder)
    assert {name for name, weight in before.items() if not torch.equal(weight, after[name])} == {
        "classifier.weight",
        "classifier.bias",
    }
    old, new = (MMERProcessor.from_pretrained(run.model_folder) for run in (base, adapted))
    assert new.labels == old.labels
    assert new.corpus_mean == old.corpus_mean != None  # noqa: E711
    assert new.tokenizer.get_vocab() == old.tokenizer.get_vocab()


def test_the_adapted_model_is_an_ordinary_one(
    base: TrainingRun, adapted: tuple[TrainingRun, Path, str]
) -> None:
    run, path, told = adapted
    assert "all weights are trained on 9 clips, since the model is small" in told
    assert "3 clips are held out to choose the epoch, since the clips are of 1 speaker" in told
    changed = weights(run.model_folder)
    moved = [
        name for name, weight in weights(base.model_folder).items() if not torch.equal(weight, changed[name])
    ]
    assert any(name.startswith("speech_encoder") for name in moved)
    assert any(name.startswith("text_encoder") for name in moved)
    corpus = Corpus.read(path)
    answers = EmotionRecognizer.from_pretrained(run.model_folder).predict_corpus(corpus)
    assert answers["error"].isna().all()
    both = TrainedOn.read(run.model_folder)
    first = TrainedOn.read(base.model_folder)
    assert both is not None
    assert first is not None
    assert len(both.table) == len(first.table) + 9
    assert both.splits_of(corpus).notna().all()
    card = write_model_card(run.folder).read_text()
    assert "trained further from the model run" in card
    assert "Speakers are not kept apart" in card


def test_only_sound_unlike_both_trainings_is_warned_of(
    base: TrainingRun, adapted: tuple[TrainingRun, Path, str], own, tmp_path: Path
) -> None:
    before = OutOfDistribution.of_model(base.model_folder)
    assert before is not None
    many = adapt(base.model_folder, own("BCD"), tmp_path / "many", ONE_EPOCH, console=quiet())
    after = OutOfDistribution.of_model(many.model_folder)
    assert after is not None
    assert after.trainings[0] == before.trainings[0]
    assert [training.recordings for training in after.trainings] == [27, 27]
    few, _, _ = adapted  # to 9 clips
    assert OutOfDistribution.of_model(few.model_folder) is None


def test_interrupted_and_resumed_is_uninterrupted(
    base: TrainingRun, adapted: tuple[TrainingRun, Path, str], tmp_path: Path
) -> None:
    whole, path, _ = adapted
    with pytest.raises(KeyboardInterrupt):
        adapt(
            base.model_folder, path, tmp_path / "run", SHORT, console=Console(file=Interrupting("epoch 1/2"))
        )
    resumed = adapt(base.model_folder, path, tmp_path / "run", SHORT, console=quiet())
    assert resumed.metrics == whole.metrics
    ours, theirs = weights(resumed.model_folder), weights(whole.model_folder)
    assert all(torch.equal(weight, theirs[name]) for name, weight in ours.items())


def test_another_model_in_the_same_place_is_not_gone_on_with(base: TrainingRun, own, tmp_path: Path) -> None:
    start = Path(shutil.copytree(base.model_folder, tmp_path / "start"))
    with pytest.raises(KeyboardInterrupt):  # before the judgement
        adapt(start, own(), tmp_path / "run", ONE_EPOCH, console=Console(file=Interrupting("epoch 1/1")))
    raise_first_logit(start)
    with pytest.raises(
        RecipeError, match=r"what is in data\.corpus: .*model\.start_from.*use another folder"
    ):
        adapt(start, own(), tmp_path / "run", ONE_EPOCH, console=quiet())


def test_new_labels_follow_those_that_stay(base: TrainingRun, tired: tuple[TrainingRun, Path]) -> None:
    run, path = tired
    plan = plan_adaptation(base.model_folder, path)
    assert plan.recipe.data.labels == ["angry", "calm", "tired"]
    assert "new labels, learned from these clips alone: tired" in plan.notes
    assert any("no clip is sad, so the adapted model no longer answers that" in note for note in plan.notes)
    torch.manual_seed(0)
    model, processor = starting_model(
        plan.recipe, prepare(plan.recipe).part("train"), ["angry", "calm", "tired"]
    )
    before, now = weights(base.model_folder)["classifier.weight"], model.classifier.weight
    assert torch.equal(now[:2], before[:2])
    assert not torch.equal(now[2], before[2])
    assert processor.labels == ["angry", "calm", "tired"] == list((model.config.id2label or {}).values())
    assert EmotionRecognizer.from_pretrained(run.model_folder).labels == ["angry", "calm", "tired"]


def test_labels_stand_in_the_order_of_the_model(base: TrainingRun, own, tiny) -> None:
    """Rows follow their labels, whatever the order."""
    recipe = changed_recipe(plan_adaptation(base.model_folder, own()).recipe, ["data.labels=sad,angry,calm"])
    model, _ = starting_model(recipe, prepare(recipe).part("train"), ["sad", "angry", "calm"])
    before = weights(base.model_folder)
    for name in ("weight", "bias"):
        assert torch.equal(getattr(model.classifier, name), before[f"classifier.{name}"][[2, 0, 1]])


def split_of(plan: Adaptation) -> pd.DataFrame:
    return prepare(changed_recipe(plan.recipe, ["data.rehearsal=null"])).corpus.table


def test_speakers_are_held_out_where_there_are_three(base: TrainingRun, own) -> None:
    plan = plan_adaptation(base.model_folder, own("BCD"))
    table = split_of(plan)
    held_out = table[table["split"] == "validation"]
    assert held_out["speaker"].nunique() == 1
    assert not set(held_out["speaker"]) & set(table[table["split"] == "train"]["speaker"])
    assert any("1 of 3 speakers is held out" in note for note in plan.notes)


@pytest.mark.parametrize("named", [True, False])
def test_clips_of_each_emotion_are_held_out_otherwise(base: TrainingRun, own, named: bool) -> None:
    plan = plan_adaptation(base.model_folder, own("CD") if named else own("BCD", speaker=None))
    table = split_of(plan)
    held_out = table[table["split"] == "validation"]
    assert sorted(held_out["emotion"].unique()) == ["angry", "calm", "sad"]
    assert 0.1 < len(held_out) / len(table) < 0.4
    whose = "2 speakers" if named else "speakers without a name"
    assert any(f"since the clips are of {whose}" in note for note in plan.notes)
    assert plan_adaptation(base.model_folder, Path(str(plan.recipe.data.corpus))).recipe == plan.recipe


def test_a_clip_that_cannot_be_read_is_not_counted_on(base: TrainingRun, own, tmp_path: Path) -> None:
    path = own("CD")
    table = Corpus.read(path).table
    held_out = plan_adaptation(base.model_folder, path).recipe.protocol.validation
    assert isinstance(held_out, list)
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"no sound")
    Corpus(
        table.assign(audio_path=table["audio_path"].mask(table["utterance_id"].isin(held_out), str(broken)))
    ).write(path)
    plan = plan_adaptation(base.model_folder, path)
    assert isinstance(plan.recipe.protocol.validation, list)
    assert not set(held_out) & set(plan.recipe.protocol.validation)
    assert f"{len(table) - len(held_out)} clips" in plan.notes[0]
    prepare(plan.recipe)


def test_the_split_of_the_corpus_is_kept(base: TrainingRun, own) -> None:
    def split(table: pd.DataFrame) -> pd.Series:
        return table["speaker"].map({"B": "train", "C": "validation", "D": "test"})

    table = split_of(plan_adaptation(base.model_folder, own("BCD", split=split)))
    assert dict(zip(table["speaker"], table["split"], strict=True)) == {
        "B": "train",
        "C": "validation",
        "D": "test",
    }


def test_what_is_trained_depends_on_size_and_clips(
    base: TrainingRun, own, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SMALL", 0)
    few = plan_adaptation(base.model_folder, own())
    assert few.recipe.model.speech.train == few.recipe.model.text.train == "frozen"
    assert "9 clips are too few to change them" in few.notes[0]
    monkeypatch.setattr(module, "FEWEST_FOR_LORA", 9)
    many = plan_adaptation(base.model_folder, own())
    assert many.recipe.model.speech.train == many.recipe.model.text.train == "lora"
    assert "are trained by LoRA" in many.notes[0]


@pytest.fixture(scope="module")
def large(tiny, listener: Path, reader: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingRun:
    """A model of pretrained encoders."""
    recipe = tiny(f"model.speech.encoder={listener}", f"model.text.encoder={reader}", "training.epochs=1")
    recipe = changed_recipe(recipe, ["augment.speech.probability=0", "model.speech.train=frozen"])
    return train(recipe, tmp_path_factory.mktemp("large") / "run", console=quiet())


@pytest.mark.parametrize("fewest_for_lora", [9, 100])
def test_large_encoders(
    large: TrainingRun,
    own,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fewest_for_lora: int,
) -> None:
    """Pretrained encoders learn by LoRA or stay as they are; the result is an ordinary model in both cases."""
    monkeypatch.setattr(module, "SMALL", 0)
    monkeypatch.setattr(module, "FEWEST_FOR_LORA", fewest_for_lora)
    adapted = adapt(large.model_folder, own(), tmp_path / "adapted", SHORT, console=quiet())
    before, after = weights(large.model_folder), weights(adapted.model_folder)
    assert before.keys() == after.keys()
    moved = {name.split(".")[0] for name, weight in before.items() if not torch.equal(weight, after[name])}
    assert {"fusion", "classifier"} <= moved
    encoders = {"speech_encoder", "text_encoder"}
    assert moved & encoders == (encoders if fewest_for_lora == 9 else set())


def test_settings_that_the_model_does_not_have(base: TrainingRun, own, tmp_path: Path) -> None:
    for setting, found in (
        (
            "model.fusion=speech",
            "model.fusion is speech, but the model in .* has mmer; set model.fusion=mmer",
        ),
        ("model.speech.normalization=utterance", "has corpus; set model.speech.normalization=corpus"),
        ("model.pooling=mean", "has max; set model.pooling=max"),
    ):
        with pytest.raises(RecipeError, match=found):
            adapt(base.model_folder, own(), tmp_path / "adapted", [setting], console=quiet())


def test_speakers_of_a_model_that_standardizes_per_speaker_are_kept(tiny, own, tmp_path: Path) -> None:
    recipe = tiny("model.speech.normalization=speaker", "training.epochs=1")
    start = train(recipe, tmp_path / "base", console=quiet())
    adapted = adapt(start.model_folder, own("D"), tmp_path / "adapted", ONE_EPOCH, console=quiet())
    assert set(EmotionRecognizer.from_pretrained(adapted.model_folder).speakers) == {"D"}
    old, new = (MMERProcessor.from_pretrained(run.model_folder) for run in (start, adapted))
    assert new.speaker_prior == old.speaker_prior is not None
    further = adapt(adapted.model_folder, own("A"), tmp_path / "further", ONE_EPOCH, console=quiet())
    assert set(EmotionRecognizer.from_pretrained(further.model_folder).speakers) == {"A", "D"}


def test_the_command_enrolls_where_there_are_no_labels(
    base: TrainingRun, own, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = run(capfd, monkeypatch, ["adapt", base.model_folder, own(emotion=None), "--out", tmp_path / "out"])
    assert told.code == 2
    assert "does not standardize features per speaker, so clips without emotions teach it nothing" in told.err
    told = run(capfd, monkeypatch, ["adapt", base.model_folder, own(emotion=None), "training.seed=1"])
    assert told.code == 2
    assert "training.seed=1 is for training, and no utterance of" in told.err
    told = run(
        capfd, monkeypatch, ["adapt", base.model_folder, own(emotion=one_emotion), "--out", tmp_path / "out"]
    )
    assert told.code == 2
    assert len(told.err.strip().splitlines()) == 1


def test_the_command_takes_what_keeps_a_model_from_forgetting(
    base: TrainingRun, own, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    keeping = [f"data.rehearsal={base.folder / 'corpus.parquet'}", "training.average_with_start=0.2"]
    settings = ["training.epochs=1", "protocol.refit=false", *keeping, "--out", tmp_path / "out"]
    told = run(capfd, monkeypatch, ["adapt", base.model_folder, own(), *settings])
    assert told.code == 0, told.err
    kept = load_recipe(str(tmp_path / "out" / "recipe.yaml"))
    assert kept.data.rehearsal == (base.folder / "corpus.parquet").resolve()
    assert kept.training.average_with_start == 0.2


def one_emotion(table: pd.DataFrame) -> str:
    return "angry"


def rare_emotion(table: pd.DataFrame) -> np.ndarray:
    return np.where(table.index == table.index[0], "afraid", table["emotion"])


@pytest.mark.parametrize(
    ("emotion", "told"),
    [
        (
            one_emotion,
            "every labeled utterance is 'angry'; a model that learns from them would answer nothing else",
        ),
        (rare_emotion, "has 1 of 'afraid'; adapting needs 2 clips of each emotion"),
        (None, "no utterance has an emotion"),
    ],
)
def test_a_corpus_that_is_too_small(base: TrainingRun, own, tmp_path: Path, emotion, told: str) -> None:
    with pytest.raises(CorpusError, match=told):
        adapt(base.model_folder, own(emotion=emotion), tmp_path / "adapted", console=quiet())
    assert not (tmp_path / "adapted").exists()


def test_models_that_cannot_be_trained_further(base: TrainingRun, own, tmp_path: Path) -> None:
    published = save_audio_classifier(tmp_path / "published", "hubert")
    with pytest.raises(CheckpointError, match=r"is a published model.*model\.speech\.encoder"):
        plan_adaptation(published, own())
    words = save_text_classifier(tmp_path / "words")
    joined = f"{re.escape(str(published))} and {re.escape(str(words))} joined"
    with (
        pytest.warns(UserWarning, match="count equally"),
        pytest.raises(CheckpointError, match=f"^cannot train {joined}, which has no weights of its own"),
    ):
        plan_adaptation(f"{published}+{words}", own())
    with pytest.raises(
        CheckpointError, match=r"^cannot train .* with other labels or a calibration, which has no weights of"
    ):
        plan_adaptation(model_folder(published, label_map="canonical"), own())
    with pytest.raises(MMERError, match="no model folder at"):
        plan_adaptation(tmp_path / "nothing", own())


def test_what_the_model_learned_from_is_learned_again(base: TrainingRun, own, tmp_path: Path) -> None:
    console = quiet()
    path = own("BD")
    plan = plan_adaptation(base.model_folder, path)
    assert plan.recipe.data.rehearsal == (base.folder / "corpus.parquet").resolve()
    table = prepare(plan.recipe).corpus.table
    is_old = table["utterance_id"].str.startswith(PREFIX)
    new = table[~is_old & (table["split"] == "train")]
    held_out = table["speaker"][table["split"] == "validation"]
    learned = Corpus.read(base.folder / "corpus.parquet").table
    learned = learned[(learned["split"] == "train") & ~learned["speaker"].isin(held_out)]
    available = learned["emotion"].value_counts().to_dict()
    assert set(table["split"][is_old]) == {"train"}
    assert table["emotion"][is_old].value_counts().to_dict() == {
        emotion: min(REHEARSED * count, available[emotion])
        for emotion, count in new["emotion"].value_counts().to_dict().items()
    }
    rows = learned.set_index("audio_path").loc[table["audio_path"][is_old]]
    assert not set(rows["speaker"]) & set(held_out)
    assert rows["emotion"].tolist() == table["emotion"][is_old].tolist()
    assert sum("are learned again for each clip" in note for note in plan.notes) == 1
    short = ["training.epochs=1", "protocol.refit=false"]
    adapted = adapt(base.model_folder, path, tmp_path / "adapted", short, console=console)
    assert adapted.metrics.train is not None
    assert adapted.metrics.train.utterances == len(new) + is_old.sum()
    assert isinstance(console.file, io.StringIO)
    assert "fewer than 20 clips" in console.file.getvalue()  # of the new speakers
    assert PREFIX not in console.file.getvalue()


def test_what_validates_is_not_rehearsed_however_it_is_written(
    base: TrainingRun,
    tiny: Callable[..., Recipe],
    tones: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tones.parent)
    table = Corpus.read(tones.name).table  # the same recordings, by their relative paths
    speaker = table["speaker"].map({"A": "a", "B": None, "C": "c", "D": "d"})
    split = ["train" if name == "a" else "validation" for name in speaker]
    new = Corpus(table.assign(speaker=speaker, split=split))
    recipe = tiny(f"data.rehearsal={tones}", "model.start_from=model")
    assert set(with_rehearsal(new, recipe).table["speaker"].iloc[len(new) :]) == {f"{PREFIX}A"}
    again = tmp_path / "again.parquet"  # the corpus of an adapted model, which rehearsed
    Corpus(table.assign(speaker=PREFIX + table["speaker"])).write(again)
    of_adapted = tiny(f"data.rehearsal={again}", "model.start_from=model")
    apart = Corpus(new.table.assign(audio_path=[str(tmp_path / f"{row}.wav") for row in range(len(new))]))
    assert set(with_rehearsal(apart, of_adapted).table["speaker"].iloc[len(new) :]) == {
        f"{PREFIX}A",
        f"{PREFIX}B",
    }
    merged = tmp_path / "merged.parquet"  # speakers as merging names them
    Corpus(table.assign(corpus="tones", speaker="tones/" + table["speaker"])).write(merged)
    of_merged = tiny(f"data.rehearsal={merged}", "model.start_from=model")
    assert set(with_rehearsal(apart, of_merged).table["speaker"].iloc[len(new) :]) == {
        f"{PREFIX}tones/A",
        f"{PREFIX}tones/B",
    }
    store = FeatureStore(MMERProcessor.from_pretrained(base.model_folder))
    before = learned_before(new.select((table["emotion"] != "sad").to_numpy()), recipe, store, quiet())
    assert before is not None
    assert set(before.table["speaker"]) == {f"{PREFIX}A"}
    assert before.table["emotion"].value_counts().to_dict() == {"angry": 3, "calm": 3}


def test_what_is_said_in_the_test_split_is_not_rehearsed_where_texts_are_kept_apart(
    tiny: Callable[..., Recipe], tones: Path, tmp_path: Path
) -> None:
    table = Corpus.read(tones).table
    old = tmp_path / "old.parquet"
    said = [
        "No, never go!" if row % 9 == 0 else f"{words} {row}" for row, words in enumerate(table["transcript"])
    ]
    Corpus(table.assign(speaker="E", transcript=said, audio_path=None)).write(old)
    settings = ("model.fusion=text", f"data.rehearsal={old}", "model.start_from=model")
    new = Corpus(table.assign(split=table["speaker"].map({"A": "train", "B": "train"}).fillna("test")))
    for apart, expected in ((False, True), (True, False)):
        recipe = tiny(*settings, f"protocol.text_disjoint={str(apart).lower()}", "protocol.text_similarity=1")
        rehearsed = with_rehearsal(new, recipe).table.iloc[len(new) :]
        assert len(rehearsed) > 20
        assert ("No, never go!" in set(rehearsed["transcript"])) == expected


def test_a_model_without_its_recordings_is_adapted_to_new_ones_alone(
    base: TrainingRun, own, tmp_path: Path
) -> None:
    alone = Path(shutil.copytree(base.model_folder, tmp_path / "model"))
    shutil.copy(own(), tmp_path / "corpus.parquet")  # not that of a run
    plan = plan_adaptation(alone, own())
    assert plan.recipe.data.rehearsal is None
    assert any("name their corpus as data.rehearsal" in note for note in plan.notes)
    run_folder = Path(shutil.copytree(base.folder, tmp_path / "run"))
    another = Path(shutil.copytree(base.model_folder, run_folder / "another"))
    assert learned_corpus(another, needs_recordings=True) is None
    corpus = Corpus.read(run_folder / "corpus.parquet")
    gone = corpus.table.assign(audio_path=[str(tmp_path / f"{row}.wav") for row in range(len(corpus))])
    Corpus(gone).write(run_folder / "corpus.parquet")
    assert plan_adaptation(run_folder / "model", own()).recipe.data.rehearsal is None
    # Named nevertheless, recordings that cannot be read are passed over.
    named = plan_adaptation(alone, own(), [f"data.rehearsal={run_folder / 'corpus.parquet'}"])
    prepared = prepare(named.recipe)
    assert len(prepared.corpus) == 9
    store = FeatureStore(MMERProcessor.from_pretrained(alone))
    assert learned_before(prepared.corpus, named.recipe, store, quiet()) is None
    (run_folder / "corpus.parquet").unlink()
    assert learned_corpus(run_folder / "model", needs_recordings=True) is None


def test_words_learned_before_need_no_recordings(
    tiny: Callable[..., Recipe], tones: Path, own, tmp_path: Path
) -> None:
    run = train(tiny("model.fusion=text", "training.epochs=1"), tmp_path / "run", console=quiet())
    corpus = Corpus.read(run.folder / "corpus.parquet")
    Corpus(corpus.table.assign(audio_path=str(tmp_path / "gone.wav"))).write(run.folder / "corpus.parquet")
    plan = plan_adaptation(run.model_folder, own())
    assert plan.recipe.data.rehearsal == (run.folder / "corpus.parquet").resolve()
    assert len(prepare(plan.recipe).corpus) == 9 + 18


def test_what_is_rehearsed_can_be_heard_or_read_and_is_truncated_as_new_clips_are(
    base: TrainingRun, tiny: Callable[..., Recipe], tones: Path, tmp_path: Path
) -> None:
    table = Corpus.read(tones).table
    silent = table["speaker"].isin(["A", "B", "C"])
    said = table["transcript"].where(table["speaker"] == "A", None)
    old = Corpus(
        table.assign(audio_path=table["audio_path"].mask(silent), transcript=said.where(silent, "heard"))
    )
    old.write(tmp_path / "old.parquet")
    recipe = tiny(
        f"data.rehearsal={tmp_path / 'old.parquet'}",
        "data.crop_duration=0.3",
        "model.start_from=model",
        "model.missing_modality_embeddings=true",
    )
    new = Corpus(table.assign(split="train"))
    rehearsed = with_rehearsal(new, recipe).table.iloc[len(new) :]
    assert rehearsed["speaker"].value_counts().to_dict() == {f"{PREFIX}A": 9, f"{PREFIX}D": 9}
    heard = rehearsed[rehearsed["audio_path"].notna()]
    assert set(heard["duration"]) == set(heard["end"]) == {0.3}
    store = FeatureStore(MMERProcessor.from_pretrained(base.model_folder), memory=0)
    before = learned_before(new, recipe, store, quiet())
    assert before is not None  # for classifiers that read sound
    assert set(before.table["speaker"]) == {f"{PREFIX}D"}
    assert {len(store.waveform(utterance)) for utterance in TrainingUtterance.of(before)} == {4800}


def test_utterances_that_an_earlier_model_rehearsed_are_ordinary_ones(
    tiny: Callable[..., Recipe], tones: Path
) -> None:
    """The corpus of an adapted model trains another."""
    table = Corpus.read(tones).table.assign(split="train")
    again = Corpus(table.assign(utterance_id=PREFIX + table["utterance_id"]))
    assert len(without_rehearsal(again, tiny())) == 36
    recipe = tiny(f"data.rehearsal={tones}", "model.start_from=model")
    both = with_rehearsal(Corpus(table), recipe)
    assert len(both) == 72
    assert without_rehearsal(both, recipe).table["utterance_id"].tolist() == table["utterance_id"].tolist()


def test_recordings_learned_before_are_read_once(
    base: TrainingRun, tiny: Callable[..., Recipe], tones: Path, tmp_path: Path
) -> None:
    old = Path(shutil.copytree(tones.parent, tmp_path / "old")) / tones.name
    recipe = tiny(f"data.rehearsal={old}", "model.start_from=model")
    new = Corpus(Corpus.read(tones).table.assign(split="train"))
    store = FeatureStore(MMERProcessor.from_pretrained(base.model_folder))
    before = learned_before(new, recipe, store, quiet())
    for recording in old.parent.glob("*.wav"):
        recording.unlink()
    assert before is not None
    assert len([store(utterance) for utterance in TrainingUtterance.with_sound(before)]) == 36


def test_the_kept_weights_are_the_average_with_those_of_the_model(
    base: TrainingRun, tired: tuple[TrainingRun, Path], tmp_path: Path
) -> None:
    run, path = tired
    before, settings = weights(base.model_folder), [*SHORT, "training.average_with_start=0.25"]
    averaged = weights(
        adapt(base.model_folder, path, tmp_path / "run", settings, console=quiet()).model_folder
    )
    for name, trained in weights(run.model_folder).items():
        expected = 0.75 * trained + 0.25 * before[name]
        if name in ("classifier.weight", "classifier.bias"):
            expected[2] = trained[2]  # of the new label
        torch.testing.assert_close(averaged[name], expected)


@pytest.mark.parametrize("setting", ["data.rehearsal=old.parquet", "training.average_with_start=0.5"])
def test_without_a_model_nothing_can_be_forgotten(setting: str) -> None:
    name = setting.split("=")[0]
    with pytest.raises(
        RecipeError, match=f"override {setting!r}: {name} is set, but model.start_from is null"
    ):
        load_recipe("compact", [setting])


@pytest.mark.slow
def test_a_transformed_voice_is_learned_and_the_old_ones_are_kept(tmp_path: Path) -> None:
    """The benchmark's own voices: 5 clips of each emotion of one that is far from those of training."""
    benchmark = runpy.run_path(str(Path(__file__).parents[3] / "benchmarks" / "adapt.py"))
    (case,) = benchmark["spoken_cases"](tmp_path, 1, [0.7], 5)
    assert case.few.table["emotion"].value_counts().tolist() == [5] * 4
    new_before, new, alone_new, old_before, old, alone_old = benchmark["measured"](
        case, tmp_path, 5, per_speaker=False
    )
    assert new >= new_before + 0.2
    assert alone_new >= new_before + 0.1
    assert min(old, alone_old) >= old_before - 0.02
