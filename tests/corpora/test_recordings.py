"""Which files of a folder are recordings, and which of them cannot be read."""

import os
from pathlib import Path

import av
import av.format
import numpy as np
import pytest
import soundfile
from av.format import ContainerFormat
from commands import run

from mmer.audio.load import load_audio
from mmer.corpora.clips import listened_to
from mmer.corpora.corpus import Corpus
from mmer.corpora.readers.releases import release_files
from mmer.corpora.recordings import SUFFIXES, find_recordings, read_recordings
from mmer.errors import AudioError
from mmer.inference import collect_inputs

TONE = (0.1 * np.sin(np.arange(16000) / 20)).astype(np.float32)


def names(folder: Path) -> list[str]:
    return [Path(path).relative_to(folder).as_posix() for path in find_recordings(folder).files]


def sound(path: Path, kind: str = "WAV") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, TONE, 16000, format=kind)
    return path


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *(("a.WAVE", "WAV"), ("a.w64", "W64"), ("a.sph", "NIST"), ("a.Rf64", "RF64"), ("a.voc", "VOC")),
        *(("a.aifc", "AIFF"), ("a.snd", "AU"), ("a.caf", "CAF"), ("a.sf", "IRCAM"), ("a.bwf", "WAVEX")),
    ],
)
def test_what_libsndfile_decodes_is_found_and_read(tmp_path: Path, name: str, kind: str) -> None:
    path = sound(tmp_path / "deep" / name, kind)
    assert names(tmp_path) == [f"deep/{name}"]
    assert len(load_audio(path)) == 16000


@pytest.mark.parametrize("name", ["a.3gp", "a.mka", "a.weba", "a.M4B", "a.mk3d", "a.ts.MTS"])
def test_what_ffmpeg_decodes_is_found_and_read(tmp_path: Path, name: str) -> None:
    kinds = {
        ".3gp": "3gp",
        ".mka": "matroska",
        ".weba": "webm",
        ".m4b": "mp4",
        ".mk3d": "matroska",
        ".mts": "mpegts",
    }
    kind = kinds[Path(name).suffix.lower()]
    with av.open(str(tmp_path / name), "w", format=kind) as container:
        stream = container.add_stream("libopus" if kind == "webm" else "aac", rate=48000, layout="mono")
        for start in range(0, 48000, 960):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 960), np.float32), format="fltp", layout="mono")
            frame.rate, frame.pts = 48000, start
            if kind == "webm":
                frame = av.AudioFrame.from_ndarray(np.zeros((1, 960), np.int16), format="s16", layout="mono")
                frame.rate, frame.pts = 48000, start
            container.mux(stream.encode(frame))  # pyright: ignore[reportAttributeAccessIssue]
        container.mux(stream.encode(None))  # pyright: ignore[reportAttributeAccessIssue]
    assert names(tmp_path) == [name]
    assert len(load_audio(tmp_path / name)) > 14000


def test_suffixes_of_every_format_that_is_opened_are_known() -> None:
    """Those that FFmpeg gives its formats, but for pictures, subtitles and fragments."""
    from mmer.audio.decoding.ffmpeg import _FORMATS  # pyright: ignore[reportPrivateUsage]

    known = set[str]()
    for name in _FORMATS.split(","):
        known |= {f".{suffix}" for suffix in ContainerFormat(name, "r").extensions}
    assert known - SUFFIXES <= {".apl", ".mac", ".avif", ".heic", ".heif", ".mj2", ".mks"}


def test_linked_folders_are_searched_once_and_circles_end(tmp_path: Path) -> None:
    sound(tmp_path / "elsewhere" / "b.wav")
    sound(tmp_path / "corpus" / "real" / "a.wav")
    (tmp_path / "corpus" / "a-link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "corpus" / "again").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "corpus" / "a-real").symlink_to(tmp_path / "corpus" / "real")
    (tmp_path / "corpus" / "real" / "up").symlink_to(tmp_path / "corpus")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "corpus")
    assert names(tmp_path / "corpus") == ["a-link/b.wav", "real/a.wav"]


def test_a_folder_that_is_a_link(tmp_path: Path) -> None:
    sound(tmp_path / "real" / "a.wav")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert names(tmp_path / "link") == ["a.wav"]


def test_what_looks_like_sound_and_is_left_out_is_told(tmp_path: Path) -> None:
    sound(tmp_path / "a.wav")
    content = (tmp_path / "a.wav").read_bytes()
    (tmp_path / "noname").write_bytes(content)
    (tmp_path / "b.wav.bak").write_bytes(content)
    (tmp_path / "gone.wav").symlink_to(tmp_path / "nowhere.wav")
    (tmp_path / "song.ra").write_bytes(b".ra\xfd")
    for name in ("notes.txt", "table.csv", "page.ts", "list.m3u", "README", ".hidden.wav", "._a.wav"):
        (tmp_path / name).write_text("no sound")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    lines: list[str] = []
    (utterance,) = collect_inputs([str(tmp_path)], lines.append)
    assert utterance.path == str(tmp_path / "a.wav")
    (line,) = lines
    assert (
        "files that look like sound were left out, for their names or because nothing is there (4): " in line
    )
    assert all(name in line for name in ("noname", "b.wav.bak", "gone.wav", "song.ra"))
    with pytest.warns(UserWarning, match="files that look like sound"):
        collect_inputs([str(tmp_path)])


def test_recordings_beside_the_metadata_are_told(tmp_path: Path) -> None:
    sound(tmp_path / "a.wav")
    sound(tmp_path / "sub" / "unlisted.wav")
    (tmp_path / "metadata.csv").write_text("file_name,label\na.wav,sad\n")
    lines: list[str] = []
    assert len(collect_inputs([str(tmp_path)], lines.append)) == 1
    assert "recordings in the folder are not in its metadata and were left out (1): " in lines[0]
    assert any("unlisted.wav" in note for note in read_recordings(tmp_path).notes)


@pytest.mark.parametrize("written", ["C:\\me\\rec\\a.wav", "file:///rec/a.wav", "/rec/a.wav", "a"])
def test_recordings_that_the_metadata_names_otherwise_are_told(tmp_path: Path, written: str) -> None:
    sound(tmp_path / "a.wav")
    (tmp_path / "metadata.csv").write_text(f"file_name,label\n{written},sad\n")
    (told,) = (note for note in read_recordings(tmp_path).notes if "under another name" in note)
    assert told.startswith("1 file of the metadata, such as ")
    assert told.endswith("write file_name relative to the folder and with its suffix: a.wav")


def test_a_spreadsheet_that_is_taken_for_metadata_is_told(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(1600), 16_000)
    assert read_recordings(tmp_path).notes == []
    (tmp_path / "Metadata.XLSX").write_bytes(b"PK")
    assert read_recordings(tmp_path).notes == [
        "spreadsheets are not read; save the table as metadata.csv (1): Metadata.XLSX"
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="root opens every folder")
def test_a_folder_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    sound(tmp_path / "a.wav")
    sound(tmp_path / "closed" / "b.wav")
    (tmp_path / "closed").chmod(0)
    try:
        assert "closed" in " ".join(find_recordings(tmp_path).notes)
    finally:
        (tmp_path / "closed").chmod(0o755)


def test_a_pattern_that_matches_folders_searches_them(tmp_path: Path) -> None:
    for name in ("anna", "ben"):
        sound(tmp_path / "speakers" / name / "a.wav")
    found = collect_inputs([str(tmp_path / "speakers" / "*")])
    assert [Path(str(each.path)).parent.name for each in found] == ["anna", "ben"]


def test_a_folder_without_recordings_tells_what_looks_like_sound(tmp_path: Path) -> None:
    (tmp_path / "song").write_bytes(b"OggS")
    for read in (lambda: collect_inputs([str(tmp_path)]), lambda: read_recordings(tmp_path)):
        with pytest.raises(AudioError, match=r"files that look like sound .*\(1\): .*song"):
            read()


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """Two good recordings and five that cannot be read, two of them by their headers still good."""
    folder = tmp_path / "broken"
    good = sound(folder / "good.wav").read_bytes()
    sound(folder / "good.flac", "FLAC")
    (folder / "cut.wav").write_bytes(good[:9000])
    (folder / "empty.mp3").write_bytes(b"")
    (folder / "words.flac").write_text("hello")
    (folder / "pointer.wav").write_text("version https://git-lfs.github.com/spec/v1\n")
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 160_000)
    soundfile.write(folder / "damaged.flac", noise, 16000)
    content = bytearray((folder / "damaged.flac").read_bytes())
    content[len(content) // 2 :] = b"\0" * (len(content) - len(content) // 2)
    (folder / "damaged.flac").write_bytes(content)
    return folder


def test_recordings_that_cannot_be_read_are_listed_with_their_reasons(
    broken: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = run(capfd, monkeypatch, ["corpus", "show", broken])
    text = " ".join(shown.out.split())
    assert "5 recordings cannot be read" in text
    for reason in (
        "cut.wav: truncated",
        "empty.mp3: is empty",
        "words.flac",
        "pointer.wav: is a Git LFS",
        "damaged.flac",
    ):
        assert reason in text
    assert "no duration 5 utterances" in text


def test_a_folder_with_metadata_is_listened_to_as_well(
    broken: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = "".join(f"{path.name},sad\n" for path in sorted(broken.iterdir()))
    (broken / "metadata.csv").write_text(f"file_name,label\n{rows}")
    shown = run(capfd, monkeypatch, ["corpus", "show", broken])
    assert "5 recordings cannot be read" in " ".join(shown.out.split())


def test_what_was_not_decoded_is_told(
    broken: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = read_recordings(broken)
    nothing = listened_to(corpus, 0)
    assert any("nothing was read" in note for note in nothing.notes)
    everything = listened_to(corpus, float("inf"))
    assert not any("time was up" in note for note in everything.notes)
    assert everything.table["duration"].notna().sum() == 2
    for seconds, told in (("0", "--seconds inf decodes all recordings\n"), ("inf", "")):
        assert run(capfd, monkeypatch, ["corpus", "show", broken, "--seconds", seconds]).err == told


def test_parts_of_a_recording_are_looked_at_one_by_one(tmp_path: Path) -> None:
    sound(tmp_path / "a.wav")
    rows = "u1,a.wav,0,0.5\nu2,a.wav,0.5,\nu3,a.wav,7,8\n"
    (tmp_path / "corpus.csv").write_text(f"utterance_id,audio_path,start,end\n{rows}")
    found = listened_to(Corpus.read(tmp_path / "corpus.csv"))
    assert found.table["duration"].tolist()[:2] == [0.5, 0.5]
    assert any("not within the file" in note for note in found.notes)


def test_releases_are_searched_through_links_too(tmp_path: Path) -> None:
    sound(tmp_path / "disk" / "Session1" / "a.wav")
    sound(tmp_path / "release" / "__MACOSX" / "a.wav")
    (tmp_path / "release" / "Session1").symlink_to(tmp_path / "disk" / "Session1")
    assert release_files(tmp_path / "release", "*.wav") == [tmp_path / "release" / "Session1" / "a.wav"]
