"""Segments that other programs write."""

from pathlib import Path

import pytest
from mutations import FEW_OR_MANY, check_one_line, mutations

from mmer.audio.speech_segments import Segment
from mmer.errors import MMERError
from mmer.inference.prediction import Prediction
from mmer.inference.timeline.input_segments import read_segments
from mmer.inference.timeline.output_formats import write_segments


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


RTTM = """;; comment
SPKR-INFO call 1 <NA> <NA> <NA> unknown ben <NA> <NA>
SPEAKER call 2 3.50 1.25 <NA> <NA> ben <NA> <NA>
SPEAKER call 1 0.50 1.00 <NA> <NA> anna 0.9 <NA>
SPEAKER other 1 9.00 1.00 <NA> <NA> <NA> <NA>
SPEAKER meeting 4 2.00 1.00 <NA> <NA> <NA> <NA>
SPEAKER meeting <NA> 3.00 1.00 <NA> <NA> <NA> <NA>
"""


def test_rttm(tmp_path: Path) -> None:
    path = written(tmp_path, "all.rttm", RTTM)
    assert read_segments(path, "somewhere/call.wav") == [
        Segment(0.5, 1.5, "left", "anna"),
        Segment(3.5, 4.75, "right", "ben"),
    ]
    assert read_segments(path, "other.flac") == [Segment(9.0, 10.0, "left", None)]
    assert [segment.channel for segment in read_segments(path, "meeting.wav")] == ["4", "mix"]
    with pytest.raises(
        MMERError, match=r"all.rttm: is about several recordings \(call, meeting, other, …\), and none is"
    ):
        read_segments(path, "third.wav")
    one = written(tmp_path, "one.rttm", RTTM[: RTTM.index("SPEAKER other")])
    assert len(read_segments(one, "renamed.wav")) == 2


TEXTGRID = '''File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 5
tiers? <exists>
size = 3
item []:
    item [1]:
        class = "IntervalTier"
        name = "anna"
        xmin = 0
        xmax = 5
        intervals: size = 3
        intervals [1]:
            xmin = 0
            xmax = 1.5
            text = "zażółć ""gęślą"""
        intervals [2]:
            xmin = 1.5
            xmax = 3
            text = ""
        intervals [3]:
            xmin = 3
            xmax = 5
            text = "jaźń"
    item [2]:
        class = "IntervalTier"
        name = "ben"
        xmin = 0
        xmax = 5
        intervals: size = 1
        intervals [1]:
            xmin = 0
            xmax = 5
            text = "no"
    item [3]:
        class = "TextTier"
        name = "clicks"
        xmin = 0
        xmax = 5
        points: size = 1
        points [1]:
            number = 2.5
            mark = "click"
'''


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_textgrid(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.TextGrid"
    path.write_text(TEXTGRID, encoding=encoding)
    anna = [
        Segment(0, 1.5, speaker="anna", transcript='zażółć "gęślą"'),
        Segment(3, 5, "mix", "anna", "jaźń"),
    ]
    assert read_segments(path, "a.wav", ["anna"]) == anna
    everything = read_segments(path, "a.wav")
    assert [segment.speaker for segment in everything] == ["anna", "ben", "anna"]
    with pytest.raises(MMERError, match="has no interval tier 'clicks'; it has anna, ben"):
        read_segments(path, "a.wav", ["clicks"])


@pytest.mark.parametrize("suffix", [".vtt", ".rttm", ".textgrid"])
def test_any_name_of_a_speaker_comes_back(tmp_path: Path, suffix: str) -> None:
    who = 'A&B_"<x>"_&amp;_Zoe\u0308'
    said = Prediction(
        utterance_id="a", label="sad", probabilities={"sad": 1.0}, start=0.0, end=1.0, speaker=who
    )
    write_segments([said], tmp_path / f"a{suffix}", suffix, recording="a.wav", duration=2.0)
    (segment,) = read_segments(tmp_path / f"a{suffix}", "a.wav")
    assert segment.speaker == 'A&B_"<x>"_&amp;_Zo\u00eb' + " emotion" * (suffix == ".textgrid")


def test_csv(tmp_path: Path) -> None:
    path = written(
        tmp_path, "a.csv", 'speaker,start,end,transcript,mood\n"ben, dr.",2,3.5,"Well, no",x\n,0.25,1,,\n'
    )
    assert read_segments(path, "a.wav") == [
        Segment(0.25, 1.0),
        Segment(2.0, 3.5, "mix", "ben, dr.", "Well, no"),
    ]
    text = written(tmp_path, "t.csv", "Start,End,Text,Speaker ID\n0,1,no,Zoe\u0308 \n")
    assert read_segments(text, "a.wav") == [Segment(0, 1, "mix", "Zo\u00eb", "no")]
    channels = written(tmp_path, "b.csv", "start,end,channel\n0,1,right\n")
    assert read_segments(channels, "a.wav") == [Segment(0.0, 1.0, "right")]


SRT = """1
00:00:01,500 --> 00:00:02,000
<i>I never</i>
said that!

2
01:00:00,000 --> 01:00:01,000
- What?

"""
VTT = """WEBVTT

NOTE made by hand

intro
00:01.500 --> 00:02.000 align:start
<v Anna>I never <b>said</b> that &amp; more

01:00:00.000 --> 01:00:01.000
What?
"""


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_subtitles(tmp_path: Path, ending: str) -> None:
    for name, text in (("a.srt", SRT), ("a.vtt", VTT)):
        (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + text.replace("\n", ending).encode())
    assert read_segments(tmp_path / "a.srt", "a.wav") == [
        Segment(1.5, 2.0, transcript="I never said that!"),
        Segment(3600.0, 3601.0, transcript="- What?"),
    ]
    assert read_segments(tmp_path / "a.vtt", "a.wav") == [
        Segment(1.5, 2.0, speaker="Anna", transcript="I never said that & more"),
        Segment(3600.0, 3601.0, transcript="What?"),
    ]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.doc", "x", "no file of segments; its name must end in one of .rttm, .textgrid, .csv, .srt, .vtt"),
        (
            "a.rttm",
            "SPEAKER a 1 x 1 <NA> <NA> b <NA>",
            "line 1: found 'SPEAKER a 1 x 1 <NA> <NA> b <NA>'; expected",
        ),
        ("a.rttm", "SPEAKER a 1 1", "line 1: found 'SPEAKER a 1 1'"),
        ("a.rttm", "", "holds no segments"),
        ("a.TextGrid", "hello", "cannot be read as TextGrid"),
        ("a.csv", "begin,end\n1,2\n", "has no column start; found begin, end"),
        ("a.csv", "start,end\n1,two\n", "start and end must be seconds"),
        ("a.csv", "start,end\n1,inf\n", "a segment from 1.0 s to inf s"),
        ("a.csv", "", "is empty; write a header, and rows below it"),
        ("a.csv", "start,end\n", "holds no segments"),
        ("a.vtt", "hello", "cannot be read as WebVTT"),
        ("a.srt", "hello", "a.srt"),
    ],
)
def test_what_is_no_file_of_segments(tmp_path: Path, name: str, text: str, message: str) -> None:
    path = written(tmp_path, name, text)
    with pytest.raises(MMERError) as caught:
        read_segments(path, "a.wav")
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_are_no_text(tmp_path: Path) -> None:
    for suffix in ("rttm", "csv", "srt", "vtt", "TextGrid"):
        path = tmp_path / f"a.{suffix}"
        path.write_bytes(b"start,end\n\xe9\xff\x00,1\n" * 3)
        with pytest.raises(MMERError, match=f"a.{suffix}"):
            read_segments(path, "a.wav")
    with pytest.raises(MMERError, match="no such file of segments"):
        read_segments(tmp_path / "b.csv", "a.wav")


@pytest.mark.parametrize("name", ["my call", "take 3", "a 1 2 3", "Zoe\u0308 1"])
def test_rttm_with_blanks_in_names(tmp_path: Path, name: str) -> None:
    lines = f"SPEAKER {name} 1 0.50 1.00 <NA> <NA> Dr. Anna <NA> <NA>\nSPEAKER {name} 1 2.5 1 <NA> sad ben 0.9 <NA>\n"
    path = written(
        tmp_path, "a.rttm", lines.replace("Dr. Anna", "anna") + "SPEAKER other 1 9 1 <NA> <NA> <NA> <NA>\n"
    )
    assert read_segments(path, f"{name}.wav") == [
        Segment(0.5, 1.5, "left", "anna"),
        Segment(2.5, 3.5, "left", "ben"),
    ]
    if name == "my call":
        assert read_segments(written(tmp_path, "b.rttm", lines), "my call.wav")[0].speaker == "Dr. Anna"


def test_subtitles_with_the_other_mark(tmp_path: Path) -> None:
    vtt = written(
        tmp_path, "a.vtt", "WEBVTT\n\n00:01,500 --> 00:02,000\nYes\n\n00:00:03.000 --> 00:00:04,5\nNo\n"
    )
    srt = written(
        tmp_path, "a.srt", "1\n00:00:01.500 --> 00:00:02,000\nYes\n\n2\n00:00:03,000 --> 00:00:04.500\nNo\n"
    )
    for path in (vtt, srt):
        assert read_segments(path, "a.wav") == [
            Segment(1.5, 2.0, transcript="Yes"),
            Segment(3.0, 4.5, transcript="No"),
        ]
    for times in ("soon --> later", "00:01 --> 00:02", "00:01.5 -> 00:02.0 --> "):
        path = written(tmp_path, "b.vtt", f"WEBVTT\n\n00:01.000 --> 00:02.000\nYes\n\n{times}\nNo\n")
        with pytest.raises(MMERError, match=r"b\.vtt, line 6: .* are no times of a subtitle"):
            read_segments(path, "a.wav")
    lost = written(
        tmp_path, "c.srt", "1\n00:00:01,000 --> 00:00:02,000\nYes\n\n00:00:03,000 --> 00:00:04,000\nNo\n"
    )
    with pytest.raises(MMERError, match=r"c\.srt: 1 of its 2 subtitles can be read"):
        read_segments(lost, "a.wav")


@pytest.mark.parametrize("words", ["From A --> B", "Well,\nfrom A --> B\n--> C", "From\nA\n --> 12:30"])
def test_arrows_in_the_words_of_subtitles(tmp_path: Path, words: str) -> None:
    vtt = f"WEBVTT\n\n00:01.000 --> 00:02.000\n{words}\n\nlast\n00:03.000 --> 00:04.000\nNo\n"
    srt = f"1\n00:00:01,000 --> 00:00:02,000\n{words}\n\n2\n00:00:03,000 --> 00:00:04,000\nNo\n"
    for path in (written(tmp_path, "a.vtt", vtt), written(tmp_path, "a.srt", srt)):
        assert read_segments(path, "a.wav") == [
            Segment(1.0, 2.0, transcript=" ".join(words.split())),
            Segment(3.0, 4.0, transcript="No"),
        ]
    damaged = srt.replace("00:00:03,000", "later")
    with pytest.raises(MMERError, match=r"b\.srt, line \d+: .* are no times of a subtitle"):
        read_segments(written(tmp_path, "b.srt", damaged), "a.wav")


def test_tables_of_segments(tmp_path: Path) -> None:
    path = written(tmp_path, "a.csv", " Start;END;Speaker;transcript\n0,5;1,25; anna\u00a0;1,5\n;;;\n")
    assert read_segments(path, "a.wav") == [Segment(0.5, 1.25, "mix", "anna", "1,5")]
    ids = written(tmp_path, "b.csv", "start,end,speaker,channel\n0,1,010,1\n1,2,1e3,right\n")
    assert [(each.speaker, each.channel) for each in read_segments(ids, "a")] == [
        ("010", "1"),
        ("1e3", "right"),
    ]
    for text, told in (
        ('start,end,speaker\n0,1,"anna\n1,2,ben"\n', "opens in line 2 takes in line 3"),
        ('start,end,speaker\n0,1,"anna\n1,2,ben\n', "opens in line 2 is not closed"),
        ("start,end\n0,\n", "end is empty in row 1"),
        ("start,end\n0," + "9" * 5000 + "\n", "to inf s"),
    ):
        with pytest.raises(MMERError, match=told):
            read_segments(written(tmp_path, "c.csv", text), "a.wav")


@FEW_OR_MANY
@pytest.mark.parametrize("name", ["a.rttm", "a.TextGrid", "a.csv", "a.srt", "a.vtt"])
def test_damaged_files(tmp_path: Path, name: str, count: int) -> None:
    table = 'speaker,start,end,transcript\n"ben, dr.",2,3.5,"Well, no"\n,0.25,1,\n'
    sample = {"a.rttm": RTTM, "a.TextGrid": TEXTGRID, "a.csv": table, "a.srt": SRT, "a.vtt": VTT}[name]
    path, read = tmp_path / name, 0
    for data in mutations([sample.encode()], count // 2, seed=6):
        path.write_bytes(data)
        read += check_one_line(lambda: read_segments(path, "call.wav"), path, data)
    assert read < count // 2
