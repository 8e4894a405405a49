"""Views of `mmer augment` in training: which may be used where, and how they are drawn."""

import io
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from mmer.audio.load import load_audio
from mmer.augment.generators.by_name import Perturbation
from mmer.augment.generators.espeak_voices import ESpeakVoices
from mmer.augment.generators.world import World
from mmer.augment.make import make_views
from mmer.corpora.corpus import Corpus
from mmer.corpora.protocol.views import View, read_views, write_views
from mmer.errors import CorpusError, RecipeError
from mmer.model.build import build_model
from mmer.training.crossval.crossval import cross_validate
from mmer.training.crossval.folder import open_folds
from mmer.training.data.dataset import SpeechEmotionDataset
from mmer.training.data.feature_store import FeatureStore, TrainingUtterance, speaker_statistics
from mmer.training.data.preparation import prepare
from mmer.training.data.second_views import choose_views, told
from mmer.training.run import train

QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def made(tones: Path, tmp_path_factory) -> Path:
    """Table of two views of every utterance of the tones: a changed voice, and a strange one."""
    folder = tmp_path_factory.mktemp("views")
    make_views(
        Corpus.read(tones),
        folder / "v",
        [World(), ESpeakVoices()],
        Perturbation(),
        language="en",
        every_split=True,
    )
    path = folder / "v" / "views.parquet"
    # A gate may have rejected some; here all are good.
    write_views([replace(view, rejected=None) for view in read_views(path) if view.audio_path], path)
    return path


def changed(made: Path, **changes) -> Path:
    """A table beside the made one with the first view of A/angry/0 changed."""
    views = read_views(made)
    first = next(n for n, view in enumerate(views) if view.source_utterance == "A_angry_0")
    views[first] = replace(views[first], **changes)
    path = made.with_name("changed.parquet")
    write_views(views, path)
    return path


class TestFoldGuard:
    """The fold: A and B train, C validates, D is tested."""

    def test_views_of_training_utterances_alone(self, tiny, made):
        recipe = tiny(f"augment.views={made}")
        chosen = choose_views(prepare(recipe).corpus, recipe)
        assert chosen is not None
        assert {name[0] for name in chosen.of} == {"A", "B"}
        views = read_views(made)
        inside = [view for view in views if view.source_utterance[0] in "AB"]
        assert chosen.counts["used"] == len(inside) == sum(map(len, chosen.of.values()))
        assert chosen.counts["not_in_training"] == len(views) - len(inside) > 0
        assert chosen.counts["without"] == 18 - len({view.source_utterance for view in inside})

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"voices": ("A", "D")}, "it has the voice of D, who is not in training"),
            ({"voices": ("C",)}, "it has the voice of C, who is not in training"),
            ({"texts": ("D",)}, "it has the words of D, who is not in training"),
            ({"donor": "D_sad_1"}, "it has the voice of the recording D_sad_1, which is not in training"),
        ],
    )
    def test_a_view_that_breaks_the_fold_is_refused_or_left_out(self, tiny, made, changes, reason):
        path = changed(made, **changes)
        with pytest.raises(
            RecipeError, match=rf"1 of \d+ views breaks the fold, the first is A_angry_0\..*: {reason}; "
        ):
            prepare(tiny(f"augment.views={path}"))
        recipe = tiny(f"augment.views={path}", "augment.views_breaking_fold=leave_out")
        whole = choose_views(prepare(tiny(f"augment.views={made}")).corpus, tiny(f"augment.views={made}"))
        chosen = choose_views(prepare(recipe).corpus, recipe)
        assert chosen is not None
        assert whole is not None
        assert chosen.counts["breaking_fold"] == 1
        assert len(chosen.of.get("A_angry_0", ())) == len(whole.of["A_angry_0"]) - 1
        assert "1 left out because they break the fold" in told(chosen.counts)

    def test_a_rejected_view_is_not_used_whatever_it_is_made_of(self, tiny, made):
        path = changed(made, rejected="sound: silent", voices=("D",))
        recipe = tiny(f"augment.views={path}")
        chosen = choose_views(prepare(recipe).corpus, recipe)
        assert chosen is not None
        assert (chosen.counts["rejected"], chosen.counts["breaking_fold"]) == (1, 0)

    def test_a_voice_of_training_is_allowed(self, tiny, made):
        recipe = tiny(f"augment.views={changed(made, voice='B', voices=('B',), donor='B_angry_0')}")
        assert choose_views(prepare(recipe).corpus, recipe) is not None

    def test_views_of_another_corpus(self, tiny, made):
        views = [
            replace(view, source_utterance=f"other {view.source_utterance}") for view in read_views(made)
        ]
        path = made.with_name("other.parquet")
        write_views(views, path)
        with pytest.raises(CorpusError, match=r"none of \d+ views is of an utterance of .*corpus.parquet"):
            prepare(tiny(f"augment.views={path}"))
        write_views([*views[1:], read_views(made)[0]], path)
        prepare(tiny(f"augment.views={path}"))
        write_views([replace(read_views(made)[0], view_id="B_sad_0")], path)
        with pytest.raises(CorpusError, match="B_sad_0 is a view and an utterance of"):
            prepare(tiny(f"augment.views={path}"))

    def test_words_of_the_test_split_are_left_out_where_texts_are_kept_apart(
        self, tiny, tones, made, tmp_path
    ):
        table = Corpus.read(tones).table
        own = table["transcript"].where(
            table["speaker"] == "D", [f"so they said {row} times" for row in table.index]
        )
        Corpus(table.assign(transcript=own)).write(tmp_path / "apart.parquet")
        path = changed(made, transcript="No, never go!")
        settings = ("protocol.text_disjoint=true", "protocol.text_similarity=1")
        for apart, used in ((settings, 0), ((), 1)):
            recipe = tiny(f"augment.views={path}", *apart, corpus=tmp_path / "apart.parquet")
            chosen = choose_views(prepare(recipe).corpus, recipe)
            assert chosen is not None
            words = [view.transcript for view in chosen.of.get("A_angry_0", ())]
            assert words.count("No, never go!") == used
            assert chosen.counts["said_in_test"] == 1 - used
            assert ("1 left out because their words are in the test split" in told(chosen.counts)) == (
                not used
            )

    @pytest.mark.parametrize(
        ("changes", "told"),
        [
            ({"speaker": "B"}, r"the speaker of A_angry_0 was A and is B"),
            ({"start": 0.1}, r"A_angry_0 had 0.40 s and has 0.30 s"),
            (
                {"transcript": "no, never go"},
                r"A_angry_0 had the transcript 'no never go' and has 'no, never go'",
            ),
        ],
    )
    def test_views_of_an_earlier_state_of_their_utterances(self, tiny, tones, made, tmp_path, changes, told):
        views = [
            replace(view, text_generator="none", transcript="no never go")
            for view in read_views(made)
            if view.source_utterance == "A_angry_0"
        ]
        path = made.with_name("stale.parquet")
        write_views(views, path)
        assert prepare(tiny(f"augment.views={path}", "data.crop_duration=0.35"))
        table = Corpus.read(tones).table.set_index("utterance_id", drop=False)
        for column, value in changes.items():
            table.loc["A_angry_0", column] = value
        Corpus(table).write(tmp_path / "changed.parquet")
        recipe = tiny(f"augment.views={path}", corpus=tmp_path / "changed.parquet")
        with pytest.raises(
            CorpusError, match=rf"{len(views)} of {len(views)} views are of another .*: {told}; "
        ):
            prepare(recipe)

    def test_no_use_without_the_augmented_objective(self, tiny):
        recipe = tiny("augment.views=nowhere.parquet", "objectives.augmented_contrastive_weight=0")
        assert choose_views(prepare(recipe).corpus, recipe) is None


class TestDrawing:
    def dataset(
        self, tiny, made: Path, *overrides: str
    ) -> tuple[SpeechEmotionDataset, dict[str, tuple[View, ...]]]:
        recipe = tiny(f"augment.views={made}", *overrides)
        preparation = prepare(recipe)
        train = preparation.part("train")
        processor = build_model(recipe, train, preparation.labels)[1]
        store = FeatureStore(processor)
        chosen = choose_views(preparation.corpus, recipe)
        assert chosen is not None
        per_speaker = processor.normalization == "speaker"
        statistics = speaker_statistics(store, preparation.corpus) if per_speaker else None
        return SpeechEmotionDataset(train, store, recipe, statistics, chosen.of, training=True), dict(
            chosen.of
        )

    def test_instead_draws_one_of_the_views_each_epoch(self, tiny, made):
        dataset, of = self.dataset(tiny, made, "augment.views_use=instead")
        processor = dataset.store.processor
        index = next(
            n for n, each in enumerate(dataset.utterances) if len(of.get(each.utterance_id, ())) == 2
        )
        views = of[dataset.utterances[index].utterance_id]
        clips = [processor.features(load_audio(str(view.audio_path))) for view in views]
        expected = [processor.standardize(clip) for clip in clips]
        drawn: Counter[int] = Counter()
        for epoch in range(40):
            dataset.set_epoch(epoch)
            item = dataset[index]
            heard = item["augmented_features"]
            assert heard is not None
            (which,) = (n for n, clip in enumerate(expected) if np.array_equal(clip, heard))
            assert item["augmented_text"] == views[which].transcript
            drawn[which] += 1
        assert len(drawn) == 2
        assert min(drawn.values()) > 8
        dataset.set_epoch(3)
        again, _ = self.dataset(tiny, made, "augment.views_use=instead")
        again.set_epoch(3)
        np.testing.assert_array_equal(
            again[index]["augmented_features"], dataset[index]["augmented_features"]
        )

    def test_beside_draws_the_one_made_on_the_fly_as_often(self, tiny, made):
        dataset, of = self.dataset(tiny, made)
        index = next(
            n for n, each in enumerate(dataset.utterances) if len(of.get(each.utterance_id, ())) == 2
        )
        texts = {view.transcript for view in of[dataset.utterances[index].utterance_id]}
        drawn = []
        for epoch in range(60):
            dataset.set_epoch(epoch)
            drawn.append(dataset._view(dataset.utterances[index]))
        counts = Counter(None if view is None else view.view_id for view in drawn)
        assert len(counts) == 3
        assert min(counts.values()) > 10
        dataset.set_epoch(drawn.index(None))
        assert dataset[index]["augmented_text"] is not None
        epoch = next(n for n, view in enumerate(drawn) if view is not None)
        dataset.set_epoch(epoch)
        assert dataset[index]["augmented_text"] in texts

    def test_without_a_view(self, tiny, made):
        path = made.with_name("few.parquet")
        write_views([view for view in read_views(made) if view.source_utterance == "A_sad_0"], path)
        changes = ("augment.text.drop=0.5", "augment.speech.probability=1")
        itself, _ = self.dataset(tiny, path, "augment.views_use=instead", *changes)
        item = itself[0]
        np.testing.assert_array_equal(item["augmented_features"], item["features"])
        assert item["augmented_text"] == item["transcript"]
        beside, _ = self.dataset(tiny, path, *changes)
        assert not np.array_equal(beside[0]["augmented_features"], beside[0]["features"])  # type: ignore[arg-type]

    def test_words_alone_go_with_the_sound_of_the_utterance(self, tiny, made):
        path = made.with_name("words.parquet")
        write_views([replace(view, audio_path=None) for view in read_views(made)], path)
        dataset, of = self.dataset(tiny, path, "augment.views_use=instead")
        index = next(n for n, each in enumerate(dataset.utterances) if each.utterance_id in of)
        item = dataset[index]
        np.testing.assert_array_equal(item["augmented_features"], item["features"])
        assert item["augmented_text"] in {view.transcript for view in of[item["utterance_id"]]}

    def test_views_are_kept_in_memory(self, tiny, made, tmp_path):
        dataset, of = self.dataset(tiny, made, "augment.views_use=instead")
        view = next(iter(of.values()))[0]
        before = dataset.store(TrainingUtterance.of_view(view, None))
        assert dataset.store(TrainingUtterance.of_view(view, None)) is before

    def test_a_view_is_cut_as_its_source_is(self, tiny, made):
        view = next(view for view in read_views(made) if (view.duration or 0) > 0.5)
        assert TrainingUtterance.of_view(view, 0.5).end == 0.5
        assert TrainingUtterance.of_view(view, 60.0).end is None

    def test_a_view_has_the_statistics_of_the_voice_it_has(self, tiny, made):
        overrides = ("augment.views_use=instead", "model.speech.normalization=speaker")
        dataset, of = self.dataset(
            tiny, changed(made, voice="B", voices=("B",), donor="B_angry_0"), *overrides
        )
        name = dataset.utterances[0].utterance_id
        assert name == "A_angry_0"
        processor = dataset.store.processor
        seen = set()
        for epoch in range(10):
            dataset.set_epoch(epoch)
            view = dataset._view(dataset.utterances[0])
            assert view is not None
            statistics = dataset.statistics["B"] if view.voice == "B" else None
            clip = processor.features(load_audio(str(view.audio_path)))
            np.testing.assert_array_equal(
                processor.standardize(clip, statistics), dataset[0]["augmented_features"]
            )
            seen.add(view.voice)
        assert len(seen) == len(of[name])
        assert "B" in seen


def test_a_run_tells_what_it_used(tiny, made, tmp_path):
    path = changed(made, voices=("D",))
    recipe = tiny(f"augment.views={path}", "augment.views_breaking_fold=leave_out", "training.epochs=1")
    console = Console(record=True, width=200, file=io.StringIO())
    metrics = train(recipe, tmp_path / "run", console=console).metrics
    assert metrics.views is not None
    assert metrics.views["breaking_fold"] == 1
    assert metrics.views["utterances"] == 18
    assert metrics.views["used"] > 20
    assert told(metrics.views) in console.export_text().replace("\n", " ")


def test_cross_validation_stops_before_training_or_leaves_out(tiny, made, tmp_path):
    path = changed(made, voices=("B",), donor="B_sad_0")
    settings = (f"augment.views={path}", "protocol.test=[]", "protocol.validation=1", "training.epochs=1")
    with pytest.raises(RecipeError, match=r"fold .: .*the voice of B, who is not in training"):
        cross_validate(tiny(*settings), tmp_path / "refused", console=QUIET)
    assert not list((tmp_path / "refused").glob("folds/*/checkpoints"))
    recipe = tiny(*settings, "augment.views_breaking_fold=leave_out")
    assert len(open_folds(tmp_path / "left out", recipe, QUIET, trains=True).folds) == 4
