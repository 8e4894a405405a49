"""How exactly the published numbers are met, and how little an answer depends on its batch.

Parity compares the network, its weights filled by rule, with outputs of the published code (CPU, float32); it needs the
folder `shared` beside the checkout. Padding compares the logits of clips alone and in one batch with clips ten times
longer, on small random encoders of each supported kind.

    python benchmarks/exactness.py
"""

import json
import sys
from pathlib import Path

import torch
from torch.nn.utils.rnn import pad_sequence

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from parity.official import batch_inputs, official_state_dict, single_inputs  # noqa: E402
from tiny import SPEECH_ENCODERS, row, speech_inputs, text_inputs, tiny_model  # noqa: E402

from mmer.model import MMERForEmotionRecognition  # noqa: E402
from mmer.model.import_checkpoint import (  # noqa: E402
    load_official,
    official_config,
    translate_name,
    translate_state_dict,
)

PARITY = ROOT / ".." / "shared" / "reference" / "parity"
LOSSES = {
    "cross_entropy": "cross_entropy",
    "ctc": "ctc_sum",
    "supervised_contrastive": "supervised_contrastive_official",
    "augmented_contrastive": "augmented_contrastive_official",
}


def parity() -> None:
    """Print the largest difference of each published figure."""
    model = MMERForEmotionRecognition(official_config(hidden_size=768))
    load_official(model, translate_state_dict(official_state_dict(PARITY)), PARITY)
    model.eval()
    parameters = dict(model.named_parameters())
    for case in ("public-1", "public-2"):
        published = json.loads((PARITY / f"{case}.json").read_text())
        model.zero_grad()
        output = model(**batch_inputs(published["spec"]))
        output.loss.backward()
        logits = (output.logits - torch.tensor(published["emotion_logits"])).abs().max()
        embedding = (
            (output.fused_embedding[:, :8] - torch.tensor(published["fused_embedding_first8"])).abs().max()
        )
        losses = max(
            abs(output.objectives[ours].item() / published["losses"][theirs] - 1)
            for ours, theirs in LOSSES.items()
        )
        gradients = 0.0
        for official, norm in published["gradient_norms"].items():
            name = translate_name(official)
            assert name is not None
            gradient = parameters[name].grad
            assert gradient is not None
            gradients = max(gradients, abs(gradient.norm().item() / norm - 1))
        print(f"{case}: logits {logits:.1e}, embeddings {embedding:.1e} (absolute); ", end="")
        print(f"losses {losses:.1e}, gradient norms {gradients:.1e} (relative)")

    published = json.loads((PARITY / "public-singles.json").read_text())
    clips, texts = zip(*single_inputs(published["seed"], published["rows"]), strict=True)
    batch = {}
    for values, mask, rows in (
        ("input_values", "speech_attention_mask", clips),
        ("text_hidden_states", "text_attention_mask", texts),
    ):
        batch[values] = pad_sequence(list(rows), batch_first=True)
        lengths = torch.tensor([len(item) for item in rows])[:, None]
        batch[mask] = (torch.arange(batch[values].shape[1]) < lengths).long()
    with torch.no_grad():
        logits = model(**batch).logits
    difference = (logits - torch.tensor([item["emotion_logits"] for item in published["rows"]])).abs().max()
    print(f"public-singles, all rows in one padded batch: logits {difference:.1e}")


def padding() -> None:
    """Print the largest difference between the logits of a clip alone and in a batch."""
    for encoder in SPEECH_ENCODERS:
        model = tiny_model(encoder)
        batch = speech_inputs(model, [4800, 48_000, 16_123, 4801, 7999]) | text_inputs([2, 20, 9, 3, 5])
        with torch.no_grad():
            together = model(**batch).logits
            alone = torch.cat([model(**row(batch, i)).logits for i in range(len(together))])
        print(f"{encoder:20} {(together - alone).abs().max():.1e}  (logits up to {alone.abs().max():.1f})")


if __name__ == "__main__":
    if PARITY.is_dir():
        print("Parity with the published code, largest differences")
        parity()
    else:
        print("no folder shared/reference/parity: parity not measured")
    print("\nAlone against in a batch, largest difference of the logits")
    padding()
