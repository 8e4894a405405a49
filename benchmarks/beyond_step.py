"""One optimizer step of `iemocap-beyond` at full size, by the real command.

64 utterances of *spoken*, "recognized" as they were said, train one epoch of one step: WavLM-base and RoBERTa-base
shapes with random weights, LoRA in the text encoder, both views, all four objectives, parts of 4, modality dropout. It
shows that the recipe runs and what it takes, not what it is worth.

    python benchmarks/beyond_step.py
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tokenizers import ByteLevelBPETokenizer
from transformers import (
    AutoModel,
    PreTrainedConfig,
    RobertaConfig,
    RobertaTokenizer,
    Wav2Vec2FeatureExtractor,
    WavLMConfig,
)

from mmer.corpora.synthetic.spoken import make_spoken

BATCH = 64


def make_encoders(folder: Path, texts: list[str]) -> tuple[Path, Path]:
    """Folders of a speech and a text encoder at random, of base size."""
    speech, text = folder / "wavlm", folder / "roberta"
    configs: dict[Path, PreTrainedConfig] = {
        speech: WavLMConfig(),
        text: RobertaConfig(vocab_size=50265, max_position_embeddings=514, type_vocab_size=1),
    }
    for path, config in configs.items():
        AutoModel.from_config(config).save_pretrained(path)
    Wav2Vec2FeatureExtractor(return_attention_mask=False).save_pretrained(speech)
    learned = ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    learned.train_from_iterator(texts, vocab_size=500, special_tokens=special, show_progress=False)
    learned.save_model(str(text))
    RobertaTokenizer.from_pretrained(text, model_max_length=512).save_pretrained(text)
    return speech, text


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        corpus = make_spoken(
            folder / "recordings", train_voices=16, validation_voices=1, test_voices=1, utterances=4
        )
        corpus.table["recognized"] = corpus.table["transcript"]
        corpus.write(folder / "corpus.parquet")
        speech, text = make_encoders(folder, corpus.table["transcript"].tolist())
        settings = [
            f"data.corpus={folder / 'corpus.parquet'}",
            *("data.labels=null", "data.label_map={}", "protocol.group=speaker", "protocol.test=[]"),
            *(f"model.speech.encoder={speech}", f"model.text.encoder={text}", "training.epochs=1"),
        ]
        start = time.perf_counter()
        command = [
            sys.executable,
            "-m",
            "mmer",
            "train",
            "iemocap-beyond",
            *settings,
            "--out",
            str(folder / "run"),
        ]
        subprocess.run(command, check=True)
        seconds = time.perf_counter() - start
        (state,) = (folder / "run" / "checkpoints").glob("*/trainer_state.json")
        steps = json.loads(state.read_text(encoding="utf-8"))["global_step"]
        seconds_audio = corpus.table["duration"][corpus.table["split"] == "train"].sum()
        gigabytes = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e9
        print(
            f"{steps} step over {BATCH} utterances, {seconds_audio:.0f} s of speech, both views; "
            f"with loading, judging and saving {seconds:.0f} s, peak memory {gigabytes:.2f} GB"
        )


if __name__ == "__main__":
    main()
