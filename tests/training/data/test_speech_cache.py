"""The cache of frozen layers of a speech encoder: exact, bounded, shared, safe against kills and other encoders."""

import io
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from rich.console import Console
from tiny import speech_config
from transformers import AutoModel

from mmer.corpora.corpus import Corpus
from mmer.evaluation.results import RunMetrics
from mmer.inference.backends.torch_network import TorchNetwork
from mmer.inference.recognizer import EmotionRecognizer
from mmer.model.build import build_model
from mmer.model.encoders.speech import SpeechEncoder, new_speech_encoder
from mmer.recipe.schema import Recipe
from mmer.training.crossval.crossval import cross_validate
from mmer.training.data.feature_store import FeatureStore, TrainingUtterance
from mmer.training.data.frozen_speech import FrozenSpeech
from mmer.training.data.preparation import prepare
from mmer.training.data.speech_cache import SpeechCache, key_of, study_cache
from mmer.training.fitting import fit
from mmer.training.run import train

Clip = np.ndarray
FRAME = 3 * 32 * 4  # bytes of a frame of three hidden states


def encoder(seed: int = 0, layers: Any = "weighted", **settings: Any) -> SpeechEncoder:
    torch.manual_seed(seed)
    model = new_speech_encoder(speech_config("wavlm-group", **settings))
    return SpeechEncoder(model, train="frozen", freeze_feature_extractor=True, layers=layers)


def clips() -> list[Clip]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal(length).astype(np.float32) for length in (4000, 8000, 5000)]


def counted(heard: SpeechEncoder) -> list[int]:
    """How many clips each call of the encoder hears, from now on."""
    calls: list[int] = []
    heard.model.encoder.register_forward_hook(
        lambda _module, _inputs, output: calls.append(len(output.last_hidden_state))
    )
    return calls


def filled(folder: Path, heard: SpeechEncoder, limit: float = 1e9, precision: str = "float32") -> SpeechCache:
    cache = SpeechCache(folder, heard, limit, precision)
    with cache.only_writer():
        for clip in clips():
            cache.add(key_of(clip), lambda clip=clip: clip)
    return cache


def stored(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.npy"))


def test_states_are_those_of_the_encoder_bit_for_bit_and_heard_once(tmp_path: Path) -> None:
    heard = encoder().eval()
    expected = []
    for clip in clips():
        with torch.no_grad():
            states, _ = heard.hidden_states(torch.from_numpy(clip)[None], torch.ones(1, len(clip)).long())
        expected.append(torch.stack(list(states), dim=2)[0].numpy())
    calls = counted(heard)
    cache = filled(tmp_path, heard)
    assert calls == [1, 1, 1]
    for clip, states in zip(clips(), expected, strict=True):
        found = cache(key_of(clip), lambda: pytest.fail("it is stored"))
        assert isinstance(found, np.memmap)
        assert np.array_equal(found, states)
    filled(tmp_path, encoder())
    assert calls == [1, 1, 1]


def test_a_batch_with_missing_sound_gets_states_and_a_mask(tmp_path: Path) -> None:
    heard = encoder()
    cache, sound = filled(tmp_path, heard), clips()
    inputs, mask = torch.zeros(4, 8000), torch.zeros(4, 8000, dtype=torch.int64)
    for row, clip in zip((0, 1, 3), sound, strict=True):
        inputs[row, : len(clip)], mask[row, : len(clip)] = torch.from_numpy(clip), 1
    calls = counted(heard)
    states, frames = cache.states_of_batch(inputs, mask)
    assert not calls
    assert frames.sum(dim=1).tolist() == [12, 24, 0, 15]
    assert np.array_equal(states[3, :15], cache(key_of(sound[2]), lambda: sound[2]))
    assert not states[2].any()
    nothing, none = cache.states_of_batch(inputs, torch.zeros_like(mask))
    assert nothing.shape[:2] == none.shape == (4, 1)
    assert not none.any()


@pytest.mark.parametrize("limit", [0, 12 * FRAME + 200, 36 * FRAME + 400])
def test_the_limit_is_kept_and_what_does_not_fit_is_the_same(tmp_path: Path, limit: int) -> None:
    whole, small = filled(tmp_path / "whole", encoder()), filled(tmp_path / "small", encoder(), limit)
    assert sum(file.stat().st_size for file in stored(tmp_path / "small")) <= limit
    fitting = [0, 12 * FRAME + 200, 36 * FRAME + 400].index(limit)
    assert len(stored(tmp_path / "small")) == fitting
    heard = encoder()
    calls, again = counted(heard), SpeechCache(tmp_path / "again", heard, limit)
    with again.only_writer():
        for _ in range(2):  # stored now, and stored before
            assert sum(again.add(key_of(clip), lambda clip=clip: clip) for clip in clips()) == fitting
    assert bool(calls) == bool(limit)  # nothing is heard for a full cache
    for clip in clips():
        one, other = (cache(key_of(clip), lambda clip=clip: clip) for cache in (whole, small))
        assert np.array_equal(one, other)


def test_each_encoder_selection_of_layers_and_precision_has_its_own(tmp_path: Path) -> None:
    caches = [
        filled(tmp_path, encoder()),
        filled(tmp_path, encoder(seed=1)),
        filled(tmp_path, encoder(layers=[1, 2])),
        filled(tmp_path, encoder(layers="last")),
        filled(tmp_path, encoder(), precision="bfloat16"),
        filled(tmp_path, encoder(num_attention_heads=4)),
    ]
    assert len({cache.folder for cache in caches}) == 6
    assert filled(tmp_path, encoder()).folder == caches[0].folder
    assert len(stored(tmp_path)) == 18


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY", None])
def test_a_damaged_file_counts_as_missing(tmp_path: Path, damage: bytes | None) -> None:
    heard = encoder()
    cache = filled(tmp_path, heard)
    first = clips()[0]
    expected = np.array(cache(key_of(first), lambda: first))
    file = next(path for path in stored(tmp_path) if path.stem == key_of(first))
    file.write_bytes(file.read_bytes()[:-7] if damage is None else damage)
    calls = counted(heard)
    assert np.array_equal(filled(tmp_path, heard)(key_of(first), lambda: first), expected)
    assert calls == [1]


def test_two_writers_fill_one_cache_and_nothing_is_heard_twice(tmp_path: Path) -> None:
    both = [encoder(), encoder()]
    calls = [counted(heard) for heard in both]
    with ThreadPoolExecutor(2) as threads:
        caches = list(threads.map(lambda heard: filled(tmp_path, heard), both))
    assert caches[0].folder == caches[1].folder
    assert sum(map(len, calls)) == len(stored(tmp_path)) == 3


def test_a_study_shares_one_folder_which_an_error_leaves(tmp_path: Path) -> None:
    with study_cache(tmp_path / "ablation") as outer, study_cache(tmp_path / "ablation" / "mmer") as inner:
        assert inner == outer == tmp_path / "ablation" / "speech_cache"
        outer.mkdir(parents=True)
    assert not outer.exists()
    (tmp_path / "speech_cache").mkdir()
    with pytest.raises(KeyboardInterrupt), study_cache(tmp_path):
        raise KeyboardInterrupt
    assert (tmp_path / "speech_cache").exists()


@pytest.fixture
def frozen(tiny: Callable[..., Recipe], listener: Path, reader: Path) -> Callable[..., Recipe]:
    def make(*overrides: str) -> Recipe:
        return tiny(
            f"model.speech={{encoder: {listener}, train: frozen, layers: weighted}}",
            f"model.text={{encoder: {reader}, train: frozen, layers: weighted}}",
            "model.pooling=attentive-statistics",
            "training.report_to=[]",
            "training.epochs=2",
            *overrides,
        )

    return make


@pytest.fixture
def hearing(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many clips each call of any speech encoder hears."""
    calls: list[int] = []
    original = SpeechEncoder.hidden_states

    def noted(self: SpeechEncoder, inputs: Any, *others: Any) -> Any:
        calls.append(len(inputs))
        return original(self, inputs, *others)

    monkeypatch.setattr(SpeechEncoder, "hidden_states", noted)
    return calls


@pytest.mark.parametrize(
    ("train", "variants", "missing"),
    [("frozen", 0, 0.3), pytest.param("frozen", 2, 0.0, marks=pytest.mark.slow), ("last:1", 2, 0.0)],
)
def test_training_with_the_cache_is_training_without_it(
    frozen: Callable[..., Recipe], tones: Path, tmp_path: Path, train: str, variants: int, missing: float
) -> None:
    """Losses and scores; with a limit that holds some clips, they are equal bit for bit."""
    table = Corpus.read(tones).table
    fewer = table[~table["utterance_id"].str.endswith("_2")].reset_index(drop=True)
    Corpus(fewer).write(tmp_path / "fewer.parquet")
    logs: list[list[dict[str, float]]] = []
    for gigabytes in ("0", "20", "1e-4"):
        recipe = frozen(
            f"data.corpus={tmp_path / 'fewer.parquet'}",
            f"model.speech.train={train}",
            f"training.speech_cache_gb={gigabytes}",
            f"augment.speech.variants={variants}",
            f"augment.missing={{speech: {missing}, text: {missing}}}",
        )
        folder = tmp_path / gigabytes
        folder.mkdir()
        told = Console(file=io.StringIO(), width=200)
        state = fit(recipe, prepare(recipe), None, folder, folder / "model", None, folder / "caches", told)
        logs.append(state.log_history)
        text = told.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
        assert ("do not fit" in text) == (gigabytes == "1e-4")
        assert ("augment.speech.variants is 0" in text) == (variants == 0)
    without, whole, part = (
        [
            {name: value for name, value in log.items() if "loss" in name or name == "cross_entropy"}
            for log in each
        ]
        for each in logs
    )
    assert len(whole) > 2
    assert whole == part
    for one, other in zip(without, whole, strict=True):
        assert one == pytest.approx(other, rel=1e-4, abs=1e-5)


def test_variants_differ_by_number_utterance_and_changes_and_are_those_of_all_runs(
    frozen: Callable[..., Recipe], corpus: Corpus, tmp_path: Path
) -> None:
    def heard(*overrides: str) -> FrozenSpeech:
        recipe = frozen("augment.speech.probability=1", *overrides)
        model, processor = build_model(recipe, corpus, corpus.emotions)
        assert model.speech_encoder is not None
        cache = SpeechCache(tmp_path, model.speech_encoder, 1e9)
        return FrozenSpeech(cache, FeatureStore(processor, 0), recipe, {})

    first = TrainingUtterance.with_sound(corpus)[0]
    twin = replace(first, utterance_id="of the same recording")
    wanted = [(each, number) for each in (first, twin) for number in (None, 0, 1)]
    done: list[int] = []
    one, other, louder = heard(), heard("training.seed=5"), heard("augment.speech.gain_db=[8,9]")
    for filled_now, files in ((one, 5), (other, 5), (louder, 9)):
        assert filled_now.fill(wanted, done.append) == 0
        assert len(stored(tmp_path)) == files
    assert done == 3 * [1, 2, 3, 4, 5, 6]
    clips = [one.states(first), *(one.variant(each, number) for each in (first, twin) for number in (0, 1))]
    clips.append(louder.variant(first, 0))
    assert len({clip.tobytes() for clip in clips}) == 6
    assert np.array_equal(one.variant(first, 1), other.variant(first, 1))
    assert np.array_equal(one.states(first), louder.states(twin))


def test_a_run_hears_each_clip_once_and_keeps_the_learned_weights(
    frozen: Callable[..., Recipe], tmp_path: Path, hearing: list[int]
) -> None:
    run = train(frozen("objectives.augmented_contrastive_weight=0"), tmp_path / "run")
    # Each of the 36 recordings once; beside them, the check of the encoder and the golden answers.
    assert 36 <= sum(hearing) < 48
    assert not (tmp_path / "run" / "speech_cache").exists()
    weights = RunMetrics.read(run.folder / "metrics.json").layer_weights
    assert {side: sum(each.values()) for side, each in weights.items()} == pytest.approx(
        {"speech": 1, "text": 1}
    )
    assert list(weights["speech"]) == ["0", "1", "2"]
    assert len(set(weights["speech"].values())) == 3
    # Another process, without the cache, gives the same answers.
    table = pd.read_parquet(run.folder / "predictions.parquet").set_index("utterance_id")
    recipe = frozen()
    assert recipe.data.corpus is not None
    corpus = pd.read_parquet(recipe.data.corpus)
    recognizer = EmotionRecognizer.from_pretrained(run.model_folder)
    row = corpus.iloc[5]
    answer = recognizer(recipe.data.corpus.parent / row["audio_path"], row["transcript"])
    assert answer.probabilities is not None
    expected = {
        label: table.loc[row["utterance_id"], f"probability_{label}"] for label in answer.probabilities
    }
    assert answer.probabilities == pytest.approx(expected, abs=1e-4)


def test_frozen_layers_hear_each_clip_once_where_the_last_ones_learn(
    frozen: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[int] = []
    original = SpeechEncoder.frozen_states

    def noted(self: SpeechEncoder, inputs: Any, mask: Any) -> Any:
        heard.append(len(inputs))
        return original(self, inputs, mask)

    monkeypatch.setattr(SpeechEncoder, "frozen_states", noted)
    settings = ["model.speech.train=last:1", "objectives.augmented_contrastive_weight=0"]
    run = train(frozen(*settings), tmp_path / "run", console=Console(file=io.StringIO()))
    assert 36 <= sum(heard) < 48  # as above, with the weights that were learned since
    encoder = EmotionRecognizer.from_pretrained(run.model_folder).network
    assert isinstance(encoder, TorchNetwork)
    before = AutoModel.from_pretrained(frozen().model.speech.encoder).state_dict()
    assert encoder.model.speech_encoder is not None
    moved = {
        name.split(".")[2]
        for name, weight in encoder.model.speech_encoder.model.state_dict().items()
        if name.startswith("encoder.layers.") and not torch.equal(weight, before[name])
    }
    assert moved == {"1"}


@pytest.mark.slow
def test_the_folds_of_a_cross_validation_share_one_cache(
    frozen: Callable[..., Recipe], tmp_path: Path
) -> None:
    recipe = frozen(
        "protocol={test: [], validation: 1}", "training.epochs=1", "objectives.augmented_contrastive_weight=0"
    )
    with study_cache(tmp_path / "study") as folder:
        cross_validate(recipe, tmp_path / "study" / "mmer", ["A", "B"], console=Console(file=io.StringIO()))
        files = stored(folder)
        assert len(files) == 36
        assert len({file.parent.parent for file in files}) == 1
    logs = [path.read_text() for path in sorted((tmp_path / "study").rglob("log.txt"))]
    assert len(logs) == 2
    assert all(re.search("speech encoder is frozen", log) for log in logs)
