"""Tables and databases that are damaged, or made to fill the memory: read, or refused in one line."""

import json
from decimal import Decimal
from pathlib import Path

import pandas as pd
import processes
import pyarrow as pa
import pytest
from mutations import FEW_OR_MANY, check_one_line, mutations
from pyarrow import parquet

from mmer.corpora.corpus import Corpus
from mmer.corpora.formats.exchange import read_from
from mmer.corpora.tables import read_table
from mmer.errors import CorpusError

ROWS = pd.DataFrame(
    {
        "utterance_id": ["007", "b", "c"],
        "audio_path": ["a.wav", 'say "b".wav', None],
        "start": [0.0, 1.5, None],
        "transcript": ["Yes, he said.", "", None],
        "emotion": ["sad", "angry", None],
        "take": pd.array([1, None, 3], dtype="Int64"),
        "improvised": pd.array([True, False, None], dtype="boolean"),
    }
)


@FEW_OR_MANY
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_tables(tmp_path: Path, suffix: str, count: int) -> None:
    Corpus(ROWS).write(tmp_path / f"good{suffix}")
    samples = [(tmp_path / f"good{suffix}").read_bytes()]
    if suffix == ".parquet":
        ROWS.set_index("utterance_id").to_parquet(tmp_path / "index.parquet", compression="zstd")
        samples.append((tmp_path / "index.parquet").read_bytes())
    path, read = tmp_path / f"bad{suffix}", 0
    for data in mutations(samples, count, seed=3):
        path.write_bytes(data)
        read += check_one_line(lambda: Corpus.read(path), path, data)
    assert read < count


def test_metadata_for_which_pyarrow_would_end_the_process(tmp_path: Path) -> None:
    """A column that the schema calls required has counts of missing values in its metadata."""
    path = tmp_path / "bad.parquet"
    Corpus(ROWS).write(path)
    optional = b"\x15\x0c\x25\x02\x18\x07emotion"  # type, repetition, name
    data = path.read_bytes()
    assert optional in data
    path.write_bytes(data.replace(optional, optional.replace(b"\x25\x02", b"\x25\x00")))
    with pytest.raises(CorpusError, match=r"bad\.parquet.*cannot be read"):
        Corpus.read(path)


@FEW_OR_MANY
@pytest.mark.parametrize("kind", ["kaldi", "emobox", "audformat", "metadata"])
def test_folders(tmp_path: Path, kind: str, count: int) -> None:
    folder = tmp_path / "corpus"
    files = {
        "kaldi": {
            "wav.scp": "u1 a.wav\nu2 b.wav\n",
            "segments": "u1 u1 0 1.5\nu2 u2 0 -1\n",
            "text": "u1 yes\nu2\n",
            "utt2spk": "u1 anna\n",
        },
        "emobox": {
            "corpus.jsonl": '{"key": "u1", "wav": "a.wav", "emo": "hap", "length": 1.5, "channel": 1}\n',
            "label_map.json": '{"hap": "Happy"}',
            "fold_1/corpus_train_fold_1.jsonl": '{"key": "u1", "wav": "a.wav", "emo": "hap"}\n',
        },
        "audformat": {
            "db.yaml": "name: x\nsource: x\nusage: other\nschemes: {emotion: {dtype: str}}\n"
            "tables: {t: {type: filewise, columns: {emotion: {scheme_id: emotion}}}}\n",
            "db.t.csv": "file,emotion\na.wav,sad\n",
        },
        "metadata": {"metadata.csv": "file_name,label\na.wav,sad\nb.wav,angry\n"},
    }[kind]
    if kind == "audformat":
        pytest.importorskip("audformat")
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    source = str(folder) if kind == "metadata" else f"{kind}:{folder}"
    assert len(read_from(source))
    read = 0
    count = count // 4 if kind == "audformat" else count
    for name, text in files.items():
        for data in mutations([text.encode()], count // len(files), seed=4):
            (folder / name).write_bytes(data)
            read += check_one_line(lambda: read_from(source), folder, data)
        (folder / name).write_text(text)
    assert read < count


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.jsonl", '{"utterance_id": ' + "[" * 100_000, "line 1 is nested too deeply"),
        ("a.jsonl", '{"utterance_id": "a", "audio_path": {"x": [1]}}', "audio_path is {'x': [1]} (dict) in row 1"),
        ("a.jsonl", '{"utterance_id": ["a"], "audio_path": "a"}', "utterance_id is ['a'] (list) in row 1"),
        ("a.jsonl", '{"utterance_id": "a", "audio_path": "a", "start": [1]}', "start is [1] in row 1"),
        ("a.jsonl", '{"utterance_id": "a", "audio_path": "a", "start": true}', "start is True in row 1"),
        ("a.jsonl", '{"utterance_id": "a", "audio_path": "a", "n": ' + "9" * 5000 + "}", "line 1 is not JSON"),
        ("a.jsonl", '{"utterance_id": "a", "emotion": "x", "emotion": "y"}', "'emotion' is given twice"),
        ("a.jsonl", "".join(f'{{"{n}": 1}}\n' for n in range(19_000)), "would take"),
        ("a.jsonl", json.dumps({str(n): 1 for n in range(30_000)}), "has 30000 columns; a table has at most"),
        ("a.csv", ",".join(map(str, range(30_000))) + "\n", "has 30000 columns; a table has at most"),
        ("a.csv", "utterance_id,audio_path,start\na,b," + "9" * 5000 + "\n", "start is '9999"),
    ],
)  # fmt: skip
def test_one_line(tmp_path: Path, name: str, content: str, told: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(CorpusError) as caught:
        Corpus.read(tmp_path / name)
    assert told in str(caught.value)
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


READ_IN_LITTLE_MEMORY = """
import resource, sys
from pathlib import Path
from mmer.corpora.tables import read_table
from mmer.errors import CorpusError
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try: read_table(Path(sys.argv[1]))
except CorpusError as error: print(error)
grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
assert grown < 300, f"{grown} MB"
"""
"""Reads the table that it is given, and prints the error."""


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
@pytest.mark.parametrize("opening", ["", '"a\nb",'])
def test_a_million_columns(tmp_path: Path, suffix: str, opening: str) -> None:
    """Refused before there is a list for each of them; the header may have a line break in it."""
    delimiter = "," if suffix == ".csv" else "\t"
    names = opening.replace(",", delimiter) + delimiter.join(map(str, range(10**6)))
    (tmp_path / f"a{suffix}").write_text(f"{names}\n")
    path = tmp_path / f"a{suffix}"
    done = processes.run(path, program=READ_IN_LITTLE_MEMORY)
    assert done.returncode == 0, done.stderr
    assert f"{path}: has 100000" in done.stdout
    assert "columns; a table has at most 20000" in done.stdout


def test_parquet_of_nested_columns(tmp_path: Path) -> None:
    kind: pa.DataType = pa.int8()
    for _ in range(15):
        kind = pa.struct([("a", kind), ("b", kind)])
    table = pa.table({"utterance_id": ["a"], "votes": pa.nulls(1, kind)})
    parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(CorpusError, match="has 32769 columns; a table has at most 20000"):
        read_table(tmp_path / "a.parquet")


def test_a_line_of_many_tags(tmp_path: Path) -> None:
    """Of EmoBox's list of speakers, in time that grows with its length alone: a pattern took an hour for 1 MB."""
    (tmp_path / "corpus.jsonl").write_text('{"key": "u1", "wav": "a.wav", "emo": "hap", "length": 1.5}\n')
    good = "<id=u1,lang=en,spk=a,b/anna,emotion=hap>"
    for noise in ("<id=", ",lang=en,spk=", ",emotion=", "<id=,lang=,spk=,emotion="):
        (tmp_path / "data.seg.wrd.stm").write_text(f"{good}\n<id={noise * 200_000}\n")
        assert read_from(f"emobox:{tmp_path}").table["speaker"].tolist() == ["anna"]


def test_a_cell_of_thirty_digits_and_a_long_one(tmp_path: Path) -> None:
    digits, long = "1" * 30, "x" * 2_000_000
    (tmp_path / "a.csv").write_text(f"utterance_id,audio_path,n,remark\na,b,{digits},{long}\n")
    row = Corpus.read(tmp_path / "a.csv").table.iloc[0]
    assert (row["n"], row["remark"]) == (digits, long)


class TestParquet:
    def write(self, folder: Path, table: pa.Table) -> Path:
        parquet.write_table(table, folder / "a.parquet", compression="zstd")
        return folder / "a.parquet"

    def test_what_pandas_says_of_it_is_not_believed(self, tmp_path: Path) -> None:
        arrow = pa.Table.from_pandas(ROWS)
        for note in (b"{", b'{"index_columns": ["nowhere"], "columns": 3}', b"\xff", b"[" * 5000):
            path = self.write(tmp_path, arrow.replace_schema_metadata({b"pandas": note}))
            assert Corpus.read(path).table["utterance_id"].tolist() == ["007", "b", "c"]
        ROWS.set_index("utterance_id").to_parquet(tmp_path / "b.parquet")
        assert Corpus.read(tmp_path / "b.parquet").table["utterance_id"].tolist() == ["007", "b", "c"]

    def test_columns_of_one_name(self, tmp_path: Path) -> None:
        arrow = pa.table([pa.array(["a"])] * 3, names=["utterance_id", "audio_path", "audio_path"])
        with pytest.raises(CorpusError, match="column audio_path occurs 2 times"):
            Corpus.read(self.write(tmp_path, arrow))

    def test_values_of_other_types(self, tmp_path: Path) -> None:
        ids = {"utterance_id": pa.array(["a", "b"]), "audio_path": pa.array(["x", "y"]).dictionary_encode()}
        decimals = pa.array([Decimal("1.50"), None])
        nested = pa.array([{"rater": ["sad"]}, None])
        path = self.write(tmp_path, pa.table({**ids, "end": decimals, "valence": decimals, "votes": nested}))
        table = Corpus.read(path).table
        assert (table["end"][0], table["valence"][0], table["emotion"][0]) == (1.5, 1.5, None)
        whole = pa.array([Decimal("12345678901234567890123"), None])
        assert Corpus.read(self.write(tmp_path, pa.table({**ids, "speaker": whole}))).table[
            "speaker"
        ].tolist() == [*("12345678901234567890123", None)]
        for wrong in (nested, pa.array([b"\xff", None]), pa.array([1.5, None]), pa.array([True, None])):
            with pytest.raises(CorpusError, match=r"speaker is .* in row 1; it must be text"):
                Corpus.read(self.write(tmp_path, pa.table({**ids, "speaker": wrong})))

    def test_a_small_file_that_asks_for_much_memory(self, tmp_path: Path) -> None:
        text = pa.array(["x" * 2**20])
        many = pa.DictionaryArray.from_arrays(pa.array([0] * 2000, pa.int32()), text)
        ids = pa.array([str(number) for number in range(2000)])
        bombs = [
            pa.table({"utterance_id": ids, "audio_path": many}),
            pa.table({"utterance_id": ids, "votes": pa.StructArray.from_arrays([many], ["text"])}),
            pa.table({"utterance_id": ids, "votes": pa.ListArray.from_arrays(pa.array(range(2001), pa.int32()), many)}),
            pa.table({"utterance_id": pa.nulls(50_000_000, pa.string())}),
            pa.table({"a": pa.FixedSizeBinaryArray.from_buffers(
                pa.binary(2**20), 300, [None, pa.py_buffer(bytes(300 * 2**20))])}),
        ]  # fmt: skip
        for bomb in bombs:
            path = self.write(tmp_path, bomb)
            assert path.stat().st_size < 200_000
            done = processes.run(path, program=READ_IN_LITTLE_MEMORY)
            assert done.returncode == 0, done.stderr
            assert "would take" in done.stdout
            assert "it is damaged or made to fill the memory" in done.stdout

    def test_a_table_that_repeats_itself_is_read(self, tmp_path: Path) -> None:
        count = 100_000
        path = self.write(
            tmp_path, pa.table({"utterance_id": ["a"] * count, "remark": ["the same again"] * count})
        )
        assert len(read_table(path)) == count
