"""MSP-IMPROV (Busso et al., 2017): twelve actors who read, improvise and talk, labeled by crowd workers."""

import json
import os
import re
from collections import Counter

from mmer.corpora.corpus import Corpus, Progress, listing
from mmer.corpora.readers.catalog import compare_counts
from mmer.corpora.readers.releases import find_file, make_corpus, match_recordings, read_text, release_files
from mmer.corpora.tables import Row
from mmer.plain_text import lines_of

EMOTIONS = {"A": "angry", "H": "happy", "N": "neutral", "S": "sad", "O": "other", "X": None}
KINDS = {"T": 652, "R": 620, "S": 4381, "P": 2785}
"""Turns of each kind in the release: target sentence, read, other improvised turn, natural interaction."""

_LABEL = re.compile(
    r"UTD-(?P<name>IMPROV-(?P<scenario>(?P<sentence>S\d\d)(?P<target>[AHNS]))"
    r"-(?P<speaker>(?P<gender>[FM])0?(?P<session>\d+))-(?P<kind>[PRST])-\w+)\.avi;"
    r"\s*(?P<emotion>[AHNSOX]);(?P<ratings>.*)"
)
_RATING = re.compile(r"([AVDN]):\s*(\d+(?:\.\d+)?)")


def read_msp_improv(root: str | os.PathLike[str], *, progress: Progress | None = None) -> Corpus:
    """Read MSP-IMPROV.

    Label lines name `UTD-IMPROV-S01A-F01-P-FM01.avi`, the recording is `MSP-IMPROV-S01A-F01-P-FM01.wav`: sentence 1
    in an angry scene, by the woman of session 1, P natural interaction (R read, T target sentence and S any other
    turn of the improvisation), by the woman to the man, turn 1. The emotion is the consensus; X (no agreement) is
    null. `session` and `fold` are the number of the session, whose two actors are in no other. No transcripts are
    released.

    Extra columns: `original_emotion` (the code); `kind` (P, R, S or T); `improvised` (all but R); `dialogue` (scene
    and session; None for R); `sentence` (S01 to S20, said in R and T); `intended_emotion`; `activation`, `valence`,
    `dominance`, `naturalness` (means of the workers, 1 to 5); `votes` (JSON: labels given by each worker).

    Args:
        root: folder of the release, with `Evalution.txt` (or `Evaluation.txt`) and the folders session1 to session6.
        progress: called with the number of recordings whose header was read so far and of all.

    Returns:
        The turns in the order of the label file; notes list label lines that cannot be read, workers who are there
        twice (the first vote counts), turns without recording, and how the kinds of turns compare in number with the
        documented ones.

    Raises:
        CorpusError: no label file or no recording.
    """
    hint = "give the folder of MSP-IMPROV, which holds Evalution.txt and session1 to session6"
    path = find_file(root, ["Evalution.txt", "Evaluation.txt"], hint)
    rows: dict[str, Row] = {}
    votes: dict[str, list[str]] = {}
    unreadable: list[str] = []
    repeated: list[str] = []
    for number, line in enumerate(lines_of(read_text(path)), 1):
        if line.startswith("UTD-"):
            votes = {}
            if match := _LABEL.match(line):
                row = _row(match)
                rows[row["utterance_id"]] = row | {"votes": votes}
            else:
                unreadable.append(f"line {number}")
        elif ";" in line:
            worker, labels = (part.strip() for part in line.split(";")[:2])
            if worker in votes:
                repeated.append(f"line {number}")
            else:
                votes[worker] = [label for part in labels.split(",") if (label := part.strip())]
    gaps = {
        "label lines cannot be read and are left out": unreadable,
        "votes are of a worker who voted before and are left out": repeated,
    }
    notes = [listing(f"{what} ({path.name})", lines) for what, lines in gaps.items() if lines]
    labeled = [row | {"votes": json.dumps(row["votes"])} for row in rows.values()]
    kept = match_recordings(labeled, release_files(root, "MSP-IMPROV-*.wav"), root, notes)
    notes += compare_counts(Counter(row["kind"] for row in kept), KINDS)
    return make_corpus("msp-improv", kept, root, notes, progress)


def _row(line: re.Match[str]) -> Row:
    ratings = {name: float(value) for name, value in _RATING.findall(line["ratings"])}
    is_read = line["kind"] == "R"
    return {
        "utterance_id": f"MSP-{line['name']}",
        "audio_path": f"MSP-{line['name']}.wav",
        "transcript": None,
        "emotion": EMOTIONS[line["emotion"]],
        "speaker": line["speaker"],
        "session": line["session"],
        "fold": line["session"],
        "gender": "female" if line["gender"] == "F" else "male",
        "language": "en",
        "original_emotion": line["emotion"],
        "kind": line["kind"],
        "improvised": not is_read,
        "dialogue": None if is_read else f"{line['scenario']}_{line['session']}",
        "sentence": line["sentence"],
        "intended_emotion": EMOTIONS[line["target"]],
        "activation": ratings.get("A"),
        "valence": ratings.get("V"),
        "dominance": ratings.get("D"),
        "naturalness": ratings.get("N"),
    }
