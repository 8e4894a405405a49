"""Draw docs/timeline.png, the picture of the README: `python docs/timeline_picture.py mmer-demo`.

Joins ten test clips of `mmer demo` into a call of two voices, one on each channel, and runs `mmer timeline` on it.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
from PIL import Image

from mmer import Corpus
from mmer.audio import SAMPLING_RATE, load_audio

VOICES = {"left": "en-us-nyc+Denis", "right": "en-gb-scotland+linda"}
EMOTIONS = ("calm", "happy", "sad", "calm", "angry", "sad", "happy", "angry", "calm", "happy")
PAUSE = 0.35  # seconds
COLORS = 64


def main() -> None:
    demo = Path(sys.argv[1])
    table = Corpus.read(demo / "corpus.parquet").table.query("split == 'test'")
    sound, rows, now = [], [], 0.0
    for turn, emotion in enumerate(EMOTIONS):
        channel = list(VOICES)[turn % 2]
        clips = table[(table["speaker"] == VOICES[channel]) & (table["emotion"] == emotion)]
        clip = clips.iloc[turn // 2]
        waveform = load_audio(clip["audio_path"])
        stereo = np.zeros((len(waveform) + round(PAUSE * SAMPLING_RATE), 2), np.float32)
        stereo[: len(waveform), turn % 2] = waveform
        end = now + len(waveform) / SAMPLING_RATE
        rows.append({"start": now, "end": end, "channel": channel, "transcript": clip["transcript"]})
        sound.append(stereo)
        now += len(stereo) / SAMPLING_RATE
    with tempfile.TemporaryDirectory() as folder:
        soundfile.write(Path(folder) / "call.wav", np.concatenate(sound), SAMPLING_RATE)
        pd.DataFrame(rows).to_csv(Path(folder) / "call.csv", index=False)
        model = str((demo / "mmer" / "model").resolve())
        asked = ["timeline", model, "call.wav", "--segments", "call.csv", "--channel", "each"]
        picture = str(Path(__file__).with_name("timeline.png"))
        subprocess.run([sys.executable, "-m", "mmer", *asked, "-o", picture], cwd=folder, check=True)
    Image.open(picture).convert("RGB").quantize(COLORS).save(picture, optimize=True)  # a third of the size


if __name__ == "__main__":
    main()
