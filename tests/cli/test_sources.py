"""`mmer corpus prepare`: releases by name, formats and tables, one or several, into a table or a format."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from commands import Outcome, make_recordings

from mmer.cli.corpus import _sources  # pyright: ignore[reportPrivateUsage]
from mmer.corpora.corpus import Corpus
from mmer.errors import CorpusError
from mmer.recipe.schema import load_recipe

Command = Callable[..., Outcome]


def test_a_name_takes_the_folder_after_it() -> None:
    words = ["iemocap", "full release", "a.csv", "kaldi:data", "ravdess", "b"]
    assert list(_sources(words)) == ["iemocap:full release", "a.csv", "kaldi:data", "ravdess:b"]


def test_a_folder_that_is_called_like_a_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "emodb").mkdir()
    assert list(_sources(["emodb"])) == ["emodb"]
    assert list(_sources(["./emodb", "nemo", "x"])) == ["./emodb", "nemo:x"]
    with pytest.raises(CorpusError, match="unknown corpus 'nemos', the nearest is 'nemo'; known are"):
        list(_sources(["nemos", "x"]))


def test_names_tables_and_formats_together(mmer: Command, tmp_path: Path) -> None:
    make_recordings(tmp_path / "said")
    table, both = tmp_path / "mine.csv", tmp_path / "both.parquet"
    done = mmer("corpus", "prepare", tmp_path / "said", "--rename", "calm=neutral", "-o", table)
    assert (done.code, done.err.splitlines()[-1]) == (0, f"24 utterances in {table}")
    assert set(pd.read_csv(table)["emotion"]) == {"angry", "happy", "neutral", "sad"}
    (tmp_path / "emodb").mkdir()
    shutil.copy(min((tmp_path / "said").glob("*.flac")), tmp_path / "emodb" / "03a01Fa.wav")
    done = mmer("corpus", "prepare", "emodb", tmp_path / "emodb", table, "-o", both)
    assert done.code == 0, done.err
    merged = Corpus.read(both).table
    assert len(merged) == 25
    assert set(merged["corpus"]) == {"mine", "emodb"}
    for source in (f"emodb:{tmp_path / 'emodb'}", table):
        refused = mmer("corpus", "prepare", source, "--audio", tmp_path, "-o", tmp_path / "x.csv")
        assert "its audio files are where it says" in refused.err


def test_labels_with_an_equals_sign(mmer: Command, tmp_path: Path) -> None:
    table, out = tmp_path / "mine.csv", tmp_path / "out.csv"
    table.write_text("utterance_id,audio_path,emotion\n1,a.wav,a=b\n2,b.wav,a\n")
    done = mmer("corpus", "prepare", table, "--rename", "a=b=c", "-o", out)
    assert (
        "note: --rename 'a=b=c' renames 'a' to 'b=c'; write a name that has an = into a .yaml, " in done.err
    )
    assert pd.read_csv(out)["emotion"].tolist() == ["a=b", "b=c"]
    (tmp_path / "names.YAML").write_text("a=b: c\n")
    done = mmer("corpus", "prepare", table, "--rename", tmp_path / "names.YAML", "-o", out)
    assert (done.code, pd.read_csv(out)["emotion"].tolist()) == (0, ["c", "a"])
    recipe = load_recipe("laptop", ["data.label_map={a=b: c}", "data.labels=a=b,c", "data.corpus=a=b.csv"])
    assert (recipe.data.label_map, list(recipe.data.labels or [])) == ({"a=b": "c"}, ["a=b", "c"])
