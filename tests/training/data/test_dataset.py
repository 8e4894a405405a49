import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mmer.audio.load import load_audio
from mmer.augment.recorded_elsewhere import recorded_elsewhere
from mmer.corpora.corpus import Corpus
from mmer.features.functionals import functionals
from mmer.features.statistics import FeatureStatistics
from mmer.model.build import build_model, set_corpus_statistics
from mmer.model.processor import MMERProcessor
from mmer.recipe.schema import Recipe
from mmer.runs.seeds import seed_for
from mmer.training.data.dataset import (
    Collator,
    Item,
    SpeechEmotionDataset,
)
from mmer.training.data.feature_store import FeatureStore, TrainingUtterance, speaker_statistics


def processor_of(recipe: Recipe, corpus: Corpus) -> MMERProcessor:
    return build_model(recipe, corpus, corpus.emotions)[1]


def dataset_of(recipe: Recipe, corpus: Corpus, *, training: bool = True) -> SpeechEmotionDataset:
    return SpeechEmotionDataset(corpus, FeatureStore(processor_of(recipe, corpus)), recipe, training=training)


def same(a: Item, b: Item) -> bool:
    return all(equal(a[key], b[key]) for key in a)  # type: ignore[literal-required]


def features_of(item: Item, prefix: str = "") -> np.ndarray:
    features = item[f"{prefix}features"]  # type: ignore[literal-required]
    assert features is not None
    return features


def equal(a: Any, b: Any) -> bool:
    return np.array_equal(a, b, equal_nan=isinstance(a, np.ndarray))


def test_item(tiny, corpus: Corpus):
    dataset = dataset_of(tiny(), corpus)
    row, item = corpus.table.iloc[7], dataset[7]
    processor, clip = dataset.store.processor, load_audio(row["audio_path"])
    assert item["utterance_id"] == row["utterance_id"]
    assert corpus.emotions[item["label"]] == row["emotion"]
    assert item["text"] == item["transcript"] == row["transcript"]
    assert equal(item["features"], processor.standardize(processor.features(clip)))


def test_second_view_depends_on_seed_epoch_and_utterance_alone(tiny, corpus: Corpus):
    recipe = tiny("augment.speech.probability=1", "augment.text.drop=0.5")
    dataset, other = dataset_of(recipe, corpus), dataset_of(recipe, corpus)
    first = [dataset[i] for i in range(6)]
    np.random.seed(5)
    assert all(same(first[i], other[i]) for i in reversed(range(6)))
    other.set_epoch(1)
    assert not any(equal(first[i]["augmented_features"], other[i]["augmented_features"]) for i in range(6))
    assert any(first[i]["augmented_text"] != other[i]["augmented_text"] for i in range(6))
    assert all(equal(first[i]["features"], other[i]["features"]) for i in range(6))
    other.set_epoch(0)
    assert all(same(first[i], other[i]) for i in range(6))
    reseeded = dataset_of(
        recipe.model_copy(update={"training": recipe.training.model_copy(update={"seed": 1})}), corpus
    )
    assert not equal(first[0]["augmented_features"], reseeded[0]["augmented_features"])


def test_utterances_get_different_views(tiny, corpus: Corpus):
    twice = Corpus(corpus.table.iloc[[0, 0]].assign(utterance_id=["one", "two"]))
    dataset = dataset_of(tiny("augment.speech.probability=1"), twice)
    assert equal(dataset[0]["features"], dataset[1]["features"])
    assert not equal(dataset[0]["augmented_features"], dataset[1]["augmented_features"])


def test_words_are_not_repeated_beyond_what_the_text_encoder_reads(tiny, corpus: Corpus):
    dataset = dataset_of(tiny("augment.text={drop: 0, swap: 0, repeat: 1}"), corpus)
    processor, said = dataset.store.processor, [utterance.transcript for utterance in dataset.utterances]
    tokens = [processor.tokenize([text])["input_ids"].shape[1] for text in said]
    processor.tokenizer.model_max_length = longest = 2 * min(tokens) - 2  # of which two are special
    seen = [dataset[i]["augmented_text"] for i in range(len(corpus))]
    assert {len(text.split()) for text in said if text} == {3, 4}
    for text, second, count in zip(said, seen, tokens, strict=True):
        assert text is not None
        twice = " ".join(word for word in text.split() for _ in range(2))
        assert second == (twice if 2 * count - 2 <= longest else text)
    assert {second == text for text, second in zip(said, seen, strict=True)} == {True, False}
    Collator(processor)([dataset[i] for i in range(len(corpus))])


@pytest.mark.parametrize(
    ("overrides", "training"),
    [(["objectives.augmented_contrastive_weight=0"], True), ([], False)],
)
def test_no_second_view_where_nobody_wants_it(tiny, corpus: Corpus, overrides: list[str], training: bool):
    dataset = dataset_of(tiny(*overrides), corpus, training=training)
    assert dataset[0]["augmented_features"] is dataset[0]["augmented_text"] is None
    batch = Collator(dataset.store.processor)([dataset[0], dataset[1]])
    assert not any(name.startswith("augmented_") for name in batch)


def test_store_reads_once_until_it_is_full(tiny, corpus: Corpus, tmp_path: Path):
    copy = tmp_path / "clip.wav"
    copy.write_bytes(Path(str(corpus.table["audio_path"][0])).read_bytes())
    utterance = TrainingUtterance.of(Corpus(corpus.table.iloc[:1].assign(audio_path=str(copy))))[0]
    processor = processor_of(tiny(), corpus)
    roomy, none = FeatureStore(processor), FeatureStore(processor, memory=0)
    features = roomy(utterance)
    assert equal(none(utterance), features)
    assert (roomy.full, none.full) == (False, True)
    copy.unlink()
    assert equal(roomy(utterance), features)
    with pytest.raises(ValueError, match=r"clip\.wav"):
        none(utterance)
    with pytest.raises(ValueError, match=r"clip\.wav"):
        pickle.loads(pickle.dumps(roomy))(utterance)


def test_a_dataset_in_another_process_gives_the_same(tiny, corpus: Corpus):
    dataset = dataset_of(tiny("augment.speech.probability=1"), corpus)
    dataset.set_epoch(3)
    expected = dataset[4]
    assert same(pickle.loads(pickle.dumps(dataset))[4], expected)


def test_batch(tiny, corpus: Corpus):
    recipe = tiny("augment.speech.time_stretch=[0.8, 0.81]", "augment.speech.probability=1")
    dataset = dataset_of(recipe, corpus)
    items = [dataset[i] for i in (3, 0, 8)]
    processor = dataset.store.processor
    batch = Collator(processor)(items)
    items.sort(key=lambda item: len(features_of(item)))
    assert batch["utterance_ids"] == [item["utterance_id"] for item in items]
    assert batch["labels"].tolist() == [item["label"] for item in items]
    expected = processor.pad([features_of(item) for item in items], [item["transcript"] for item in items])
    for name, tensor in expected.items():
        assert torch.equal(batch[name], tensor)
    lengths = batch["speech_attention_mask"].sum(1)
    stretched = batch["augmented_speech_attention_mask"].sum(1)
    assert (stretched > 1.1 * lengths).all()
    assert {f"augmented_{name}" for name in expected} == {
        name for name in batch if name.startswith("augmented_")
    }
    assert torch.equal(batch["ctc_labels"], processor.encode_ctc([item["transcript"] for item in items]))


def test_training_changes_the_features_of_both_views_differently_each_epoch(tiny, corpus: Corpus):
    recipe = tiny("augment.features={warp: 0.1}", "augment.speech.probability=0")
    dataset, judged = dataset_of(recipe, corpus), dataset_of(recipe, corpus, training=False)
    seen = [features_of(judged[0])]
    for epoch in (0, 1):
        dataset.set_epoch(epoch)
        item = dataset[0]
        assert same(item, dataset[0])
        seen += [features_of(item), features_of(item, "augmented_")]
    assert len({features.tobytes() for features in seen}) == 5
    assert all(np.abs(features - seen[0]).mean() < 1.0 for features in seen)


def test_half_of_the_clips_sound_as_if_recorded_elsewhere(tiny, corpus: Corpus):
    settings = (
        "augment.features.elsewhere=0.5",
        "augment.speech.probability=0",
        "model.speech.compact.functionals=true",
    )
    recipe = tiny(*settings, "model.speech.normalization=corpus")
    store = FeatureStore(processor_of(recipe, corpus))
    set_corpus_statistics(store.processor, FeatureStatistics.of(map(store, TrainingUtterance.of(corpus))))
    dataset = SpeechEmotionDataset(corpus, store, recipe, training=True)
    judged = SpeechEmotionDataset(corpus, store, recipe, training=False)
    changed = []
    for index in range(len(dataset)):
        item, here = dataset[index], features_of(judged[index])
        assert same(item, dataset[index])
        assert equal(here, store.processor.standardize(store(dataset.utterances[index])))
        utterance = dataset.utterances[index]
        frames = store(utterance)[:, :-147].reshape(-1, 83)
        for view, features in (("first", features_of(item)), ("second", features_of(item, "augmented_"))):
            changed.append(not equal(features, here))
            if changed[-1]:
                seed = seed_for(recipe.training.seed, 0, f"{view} elsewhere", utterance.utterance_id)
                elsewhere = recorded_elsewhere(frames, seed)
                of_clip = np.broadcast_to(functionals(elsewhere, 147), (len(here), 147))
                expected = np.concatenate([elsewhere.reshape(len(here), -1), of_clip], axis=1)
                assert equal(features, store.processor.standardize(expected))
    assert 0.3 < np.mean(changed) < 0.7
    item = dataset_of(tiny(*settings, "model.speech.normalization=speaker"), corpus)[0]
    assert equal(features_of(item), features_of(item, "augmented_"))


def test_text_only_reads_no_sound(tiny, corpus: Corpus):
    silent = Corpus(corpus.table.assign(audio_path="nowhere.wav", transcript=None))
    dataset = dataset_of(tiny("model.fusion=text"), corpus)
    dataset = SpeechEmotionDataset(silent, dataset.store, dataset.recipe, training=True)
    batch = Collator(dataset.store.processor)([dataset[0], dataset[1]])
    assert batch["input_ids"].shape[0] == batch["augmented_input_ids"].shape[0] == 2
    assert "input_features" not in batch
    assert "ctc_labels" not in batch


def test_speaker_statistics_are_over_all_clips_of_a_speaker(tiny, corpus: Corpus):
    recipe = tiny("model.speech.normalization=speaker")
    store = FeatureStore(processor_of(recipe, corpus))
    statistics = speaker_statistics(store, corpus)
    assert set(statistics) == {"A", "B", "C", "D"}
    paths = corpus.table["audio_path"][corpus.table["speaker"] == "B"]
    frames = np.concatenate([store.processor.features(load_audio(path)) for path in paths.tolist()])
    expected = FeatureStatistics.of([frames])
    assert np.allclose(statistics["B"].mean, expected.mean, atol=1e-4)
    assert np.allclose(statistics["B"].std, expected.std, atol=1e-3)
    assert not np.allclose(statistics["A"].mean, expected.mean, atol=1e-1)


def test_each_clip_gets_the_statistics_of_its_speaker(tiny, corpus: Corpus):
    recipe = tiny("model.speech.normalization=speaker", "augment.speech.probability=0")
    store = FeatureStore(processor_of(recipe, corpus))
    statistics = speaker_statistics(store, corpus)
    dataset = SpeechEmotionDataset(corpus, store, recipe, statistics, training=True)
    for index, speaker in ((0, "A"), (10, "B")):
        item, utterance = dataset[index], dataset.utterances[index]
        assert utterance.speaker == speaker
        expected = store.processor.standardize(store(utterance), statistics[speaker])
        assert equal(features_of(item), expected)
        assert equal(features_of(item, "augmented_"), expected)
        assert not equal(expected, store.processor.standardize(store(utterance)))


DROPS = ("augment.missing={speech: 0.3, text: 0.4}", "augment.speech.probability=0")


def test_modality_dropout_depends_on_seed_epoch_and_utterance_alone(tiny, corpus: Corpus):
    dataset, other = dataset_of(tiny(*DROPS), corpus), dataset_of(tiny(*DROPS), corpus)
    kinds = []
    for epoch in range(30):
        dataset.set_epoch(epoch)
        items = [dataset[i] for i in range(len(dataset))]
        kinds += [(item["features"] is not None, item["text"] is not None) for item in items]
        for item in items:  # both views lack the same, and CTC keeps its transcript
            assert (item["features"] is None) == (item["augmented_features"] is None)
            assert (item["text"] is None) == (item["augmented_text"] is None)
            assert item["transcript"]
    assert (False, False) not in kinds
    share = {kind: kinds.count(kind) / len(kinds) for kind in set(kinds)}
    assert share[(False, True)] == pytest.approx(0.3, abs=0.05)
    assert share[(True, False)] == pytest.approx(0.4, abs=0.05)
    other.set_epoch(29)
    assert all(same(dataset[i], other[i]) for i in reversed(range(len(dataset))))
    judged = dataset_of(tiny(*DROPS), corpus, training=False)
    assert all(judged[i]["features"] is not None and judged[i]["text"] for i in range(len(judged)))


def test_what_is_missing_is_not_dropped_from(tiny, corpus: Corpus):
    table = corpus.table.copy()
    table.loc[:9, "audio_path"] = None
    table.loc[10:19, "transcript"] = [None, "", "[LAUGHTER]", "  ", "(sighs)"] * 2
    dataset = dataset_of(tiny("augment.missing={speech: 0.5, text: 0.5}"), Corpus(table))
    items: list[Item] = []
    for epoch in range(5):
        dataset.set_epoch(epoch)
        items = [dataset[i] for i in range(20)]
        assert all(item["features"] is None and item["text"] for item in items[:10])
        assert all(item["features"] is not None and item["text"] is None for item in items[10:])
    batch = Collator(dataset.store.processor)([dataset[i] for i in (3, 12, 15)])
    assert batch["speech_attention_mask"].any(dim=1).tolist() == [False, True, True]
    assert batch["text_attention_mask"].any(dim=1).tolist() == [True, False, False]
    assert "text_attention_mask" not in Collator(dataset.store.processor)(items[10:])
    assert "speech_attention_mask" not in Collator(dataset.store.processor)(items[:10])


def test_no_modality_is_dropped_where_there_is_one(tiny, corpus: Corpus):
    dataset = dataset_of(tiny(*DROPS, "model.fusion=speech"), corpus)
    assert all(dataset[i]["features"] is not None for i in range(len(dataset)))


def test_the_share_of_recognized_transcripts(tiny, corpus: Corpus):
    heard_of = [None, "", *[f"heard {n}" for n in range(2, len(corpus))]]
    table = corpus.table.assign(recognized=np.array(heard_of, dtype=object))
    table["transcript"] = [f"said {n}" for n in range(len(corpus))]
    recipe = tiny(
        "data.recognized=0.3", "augment.speech.probability=0", "augment.text={drop: 0, swap: 0, repeat: 0}"
    )
    dataset, other = dataset_of(recipe, Corpus(table)), dataset_of(recipe, Corpus(table))
    heard = []
    for epoch in range(20):
        dataset.set_epoch(epoch)
        items = [dataset[i] for i in range(len(dataset))]
        assert items[0]["text"] == "said 0"  # was not heard
        assert all(item["text"] == item["augmented_text"] for item in items)
        assert [item["transcript"] for item in items] == table["transcript"].tolist()
        heard += [item["text"] == table["recognized"][n] for n, item in enumerate(items) if n]
    assert np.mean(heard) == pytest.approx(0.3, abs=0.05)
    other.set_epoch(19)
    assert all(same(dataset[i], other[i]) for i in reversed(range(len(dataset))))
    judged = dataset_of(recipe, Corpus(table), training=False)
    assert [judged[n]["text"] for n in range(len(judged))] == table["transcript"].tolist()


def test_nothing_recognized_is_nothing_to_read(tiny, corpus: Corpus):
    heard = Corpus(corpus.table.assign(recognized=""))
    dataset = dataset_of(tiny("data.recognized=1", "model.missing_modality_embeddings=true"), heard)
    assert all(dataset[n]["text"] is None and dataset[n]["transcript"] for n in range(5))
