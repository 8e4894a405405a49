"""`mmer score` against the bare forward of the encoders over the same batches.

`score` answers an archive in this process and writes its folder; what it gave the network, batch by batch, is kept and
then goes through the speech and text encoders alone: nothing is read, no features are computed, nothing is fused,
nothing is written. Printed are recordings a second of both, loading the model included in that of `score`, and the
ratio, by the clock and in processor time, which other work on the machine disturbs less. Without a model folder, the
network has the size of the paper's (wav2vec2-base and roberta-base) and random weights.

    python benchmarks/score.py corpus.parquet [--model RUN/model] [--clips N]
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from transformers import RobertaConfig, Wav2Vec2Config, Wav2Vec2FeatureExtractor

from mmer.corpora.corpus import Corpus
from mmer.inference.archive.score import score
from mmer.inference.backends.network import Inputs
from mmer.inference.backends.torch_network import TorchNetwork
from mmer.model import MMERConfig, MMERForEmotionRecognition, MMERProcessor
from mmer.model.encoders.compact import compact_tokenizer
from mmer.model.encoders.convolutions import receptive_field
from mmer.recipe.model import CompactText

EMOTIONS = ["angry", "fearful", "happy", "neutral", "sad", "surprised"]


def paper_size(folder: Path, corpus: Corpus) -> Path:
    """A model folder with random weights."""
    torch.manual_seed(0)
    speech, text = Wav2Vec2Config(), RobertaConfig(vocab_size=50_265, max_position_embeddings=514)
    labels = {"id2label": dict(enumerate(EMOTIONS)), "label2id": {name: i for i, name in enumerate(EMOTIONS)}}
    config = MMERConfig(speech_config=speech, text_config=text, hidden_size=768, **labels)
    texts = corpus.table["transcript"].dropna().tolist()
    processor = MMERProcessor(
        Wav2Vec2FeatureExtractor(return_attention_mask=True),
        compact_tokenizer(texts, CompactText(vocabulary_size=1000)),
        labels=EMOTIONS,
        minimum_samples=receptive_field(speech),
    )
    MMERForEmotionRecognition(config).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--model", type=Path, help="a model folder")
    parser.add_argument("--clips", type=int, help="the first so many")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()

    given: list[tuple[TorchNetwork, Inputs]] = []
    answer = TorchNetwork.answer

    def keeping(self: TorchNetwork, inputs: Inputs, read: Any = None) -> Any:
        given.append((self, inputs))
        return answer(self, inputs, read)

    TorchNetwork.answer = keeping
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        corpus = Corpus.read(arguments.corpus)
        Corpus(corpus.table.head(arguments.clips or len(corpus))).write(folder / "corpus.parquet")
        model = arguments.model or paper_size(folder / "model", corpus)
        worked = time.process_time()
        scored = score(model, str(folder / "corpus.parquet"), folder / "scores", device=arguments.device)
        worked = time.process_time() - worked
    if scored.errors:
        raise SystemExit(f"{len(scored.errors)} recordings have no answer: {scored.errors[0]}")

    @torch.inference_mode()
    def encode() -> tuple[float, float]:
        began, worked = time.perf_counter(), time.process_time()
        for network, inputs in given:
            device = network.model.device
            tensors = {kind: torch.from_numpy(array).to(device) for kind, array in inputs.items()}
            sound = tensors["input_features" if "input_features" in tensors else "input_values"]
            network.model.encode_speech(sound, tensors["speech_attention_mask"])
            if "input_ids" in tensors:
                network.model.encode_text(tensors["input_ids"], tensors["text_attention_mask"])
        if arguments.device != "cpu":
            torch.cuda.synchronize()
        return time.perf_counter() - began, time.process_time() - worked

    seconds, processor = encode()
    parameters = sum(parameter.numel() for parameter in given[0][0].model.parameters())
    print(
        f"{scored.rows} recordings, {scored.new_sound / 60:.1f} min; {parameters / 1e6:.1f} million parameters"
    )
    print(f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads, {arguments.device}")
    print(f"mmer score     {scored.new_rows / scored.took:8.1f} recordings/s  {scored.took:.1f} s")
    print(f"bare encoders  {scored.rows / seconds:8.1f} recordings/s  {seconds:.1f} s")
    print(
        f"ratio          {seconds / scored.took:8.2f}  by the clock, {processor / worked:.2f} in processor time"
    )


if __name__ == "__main__":
    main()
