"""The published model, number by number: full size, its weights filled by rule."""

import json
from pathlib import Path

import pytest
import torch
from parity.official import batch_inputs, official_state_dict, single_inputs
from torch.nn.utils.rnn import pad_sequence
from transformers.initialization import no_init_weights

from mmer.model import MMERForEmotionRecognition
from mmer.model.import_checkpoint import load_official, official_config, translate_name, translate_state_dict


@pytest.fixture(scope="module")
def parity(shared: Path) -> Path:
    folder = shared / "reference" / "parity"
    if not folder.is_dir():
        pytest.skip("no reference/parity in shared/")
    return folder


@pytest.fixture(scope="module")
def model(parity: Path) -> MMERForEmotionRecognition:
    with no_init_weights():
        model = MMERForEmotionRecognition(official_config(hidden_size=768))
    load_official(model, translate_state_dict(official_state_dict(parity)), parity)
    return model.eval()


@pytest.mark.parametrize("case", ["public-1", pytest.param("public-2", marks=pytest.mark.slow)])
def test_batches(model: MMERForEmotionRecognition, parity: Path, case: str) -> None:
    published = json.loads((parity / f"{case}.json").read_text())
    model.zero_grad()
    output = model(**batch_inputs(published["spec"]))
    output.loss.backward()

    assert (output.logits - torch.tensor(published["emotion_logits"])).abs().max() <= 1e-4
    first8 = torch.tensor(published["fused_embedding_first8"])
    assert (output.fused_embedding[:, :8] - first8).abs().max() <= 1e-4
    for name in ("fused_embedding", "augmented_fused_embedding"):
        norms = torch.tensor(published[f"{name}_norm"])
        torch.testing.assert_close(getattr(output, name).norm(dim=1), norms, rtol=1e-5, atol=0)

    losses = published["losses"]
    ours = {
        "cross_entropy": output.objectives["cross_entropy"],
        "ctc_sum": output.objectives["ctc"],
        "supervised_contrastive_official": output.objectives["supervised_contrastive"],
        "augmented_contrastive_official": output.objectives["augmented_contrastive"],
        "total_lambda_0_1": output.loss,
    }
    assert {name: loss.item() for name, loss in ours.items()} == pytest.approx(losses, rel=1e-4)

    parameters = dict(model.named_parameters())
    for official, norm in published["gradient_norms"].items():
        name = translate_name(official)
        assert name is not None
        gradient = parameters[name].grad
        assert gradient is not None
        assert gradient.norm().item() == pytest.approx(norm, rel=1e-4), official


def test_single_utterances_in_one_padded_batch(model: MMERForEmotionRecognition, parity: Path) -> None:
    published = json.loads((parity / "public-singles.json").read_text())
    clips, texts = zip(*single_inputs(published["seed"], published["rows"]), strict=True)
    batch = {}
    for name, mask_name, rows in (
        ("input_values", "speech_attention_mask", clips),
        ("text_hidden_states", "text_attention_mask", texts),
    ):
        batch[name] = pad_sequence(list(rows), batch_first=True)
        lengths = torch.tensor([len(row) for row in rows])[:, None]
        batch[mask_name] = (torch.arange(batch[name].shape[1]) < lengths).long()
    with torch.no_grad():
        output = model(**batch)
    logits = torch.tensor([row["emotion_logits"] for row in published["rows"]])
    first8 = torch.tensor([row["fused_embedding_first8"] for row in published["rows"]])
    assert (output.logits - logits).abs().max() <= 1e-4
    assert (output.fused_embedding[:, :8] - first8).abs().max() <= 1e-4
