"""The audit of recordings: planted copies, faults, parts of one file."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from rich.console import Console

from mmer.audio.load import load_audio
from mmer.corpora.audit.audit import audit
from mmer.corpora.audit.findings import Audit
from mmer.corpora.corpus import Corpus


def page(found: Audit) -> str:
    console = Console(width=160, file=io.StringIO())
    with console.capture() as capture:
        console.print(found)
    return capture.get()


class TestRecordings:
    @pytest.fixture
    def planted(self, nemo_samples: Path, tmp_path: Path) -> Corpus:
        """Four clips of one speaker saying the same words to train on; what is tested is made of some of them."""
        own = nemo_samples.parent
        table = pd.read_csv(own / "data.tsv", sep="\t")
        names = next(
            list(names) for _, names in table.groupby(["speaker_id", "raw_text"])["file_id"] if len(names) > 4
        )
        paths = [nemo_samples / name for name in names]
        clips = [load_audio(path) for path in paths]
        quiet, rate = np.zeros(16_000, np.float32), 16_000
        part = 0.2 * clips[1][len(clips[1]) // 7 : -len(clips[1]) // 8]
        soundfile.write(tmp_path / "coded.mp3", part, rate)
        soundfile.write(tmp_path / "clipped.wav", np.clip(20 * clips[4], -1, 1), rate)
        soundfile.write(tmp_path / "silent.wav", quiet, rate)
        soundfile.write(tmp_path / "empty.wav", quiet[:0], rate)
        soundfile.write(tmp_path / "short.wav", clips[4][8000:9000], rate)
        (tmp_path / "same.opus").write_bytes(paths[0].read_bytes())
        (tmp_path / "broken.wav").write_bytes(b"RIFF")
        made = [
            tmp_path / name for name in ("coded.mp3", "same.opus", "clipped.wav", "silent.wav", "empty.wav")
        ]
        made += [tmp_path / name for name in ("short.wav", "broken.wav", "gone.wav")]
        files = [*paths[:4], *made]
        ids = [path.name for path in files]
        splits = ["train"] * 4 + ["test"] * len(made)
        return Corpus(pd.DataFrame({"utterance_id": ids, "audio_path": map(str, files), "split": splits}))

    def test_planted_copies_are_found_and_other_takes_are_not(self, planted: Corpus) -> None:
        seen: list[tuple[int, int]] = []
        found = audit(planted, progress=lambda done, total: seen.append((done, total)))
        test, ids = found.folds["test"], planted.table["utterance_id"]
        assert test.counts["audio_overlap"] == [1, 5]
        assert test.counts["near_audio_overlap"] == [
            2,
            3,
        ]  # known of the coded, the same and the clipped one
        pairs = {row.utterance: row.same_as for row in found.recordings}
        assert pairs == {"coded.mp3": ids[1], "same.opus": ids[0]}
        assert [row.difference for row in found.recordings if row.utterance == "same.opus"] == [0.0]
        assert seen[-1] == (12, 12)

    def test_faults_are_listed(self, planted: Corpus) -> None:
        found = audit(planted)
        assert found.clips.read == 9
        assert found.clips.unreadable == ["broken.wav", "gone.wav"]
        assert found.clips.empty == ["empty.wav"]
        assert found.clips.silent == ["silent.wav"]
        assert found.clips.clipped == ["clipped.wav"]
        assert found.clips.short == ["short.wav"]
        assert found.clips.no_fingerprint == ["silent.wav", "short.wav"]
        assert len([note for note in found.notes if note.startswith("cannot be read: ")]) == 3
        assert "broken.wav, gone.wav" in page(found)

    def test_each_group_against_all_others(self, planted: Corpus) -> None:
        table = planted.table[:6].assign(session=["1", "2", "2", "2", "2", "2"])
        found = audit(Corpus(table), "session")
        assert found.folds["1"].audio_overlap == 1.0
        assert found.folds["2"].counts["audio_overlap"] == [1, 5]
        assert found.folds["2"].counts["near_audio_overlap"] == [1, 5]
        assert not [said for said in found.verdict if "greatest transcript overlap" in said]

    def test_nothing_is_known_where_training_has_no_recordings(self, planted: Corpus) -> None:
        heard = planted.table["split"] == "test"
        test = audit(Corpus(planted.table.assign(audio_path=planted.table["audio_path"].where(heard)))).folds[
            "test"
        ]
        assert test.audio_overlap is test.near_audio_overlap is None

    def test_nobody_listens_where_not_asked(self, planted: Corpus) -> None:
        found = audit(planted, listen=False)
        assert found.folds["test"].audio_overlap is None
        assert found.clips.read == 0

    def test_parts_of_one_file(self, planted: Corpus) -> None:
        path, end = planted.table["audio_path"][0], [0.6, 1.2, 0.6]
        table = pd.DataFrame(
            {"utterance_id": list("abc"), "audio_path": path, "start": [0.0, 0.6, 0.0], "end": end}
        )
        test = audit(Corpus(table.assign(split=["train", "test", "test"]))).folds["test"]
        assert test.counts["audio_overlap"] == [1, 2]
