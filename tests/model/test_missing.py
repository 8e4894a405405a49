"""Utterances without sound or without text, in front of a model with missing-modality embeddings."""

from functools import partial
from pathlib import Path

import pytest
import torch
from learning import batch, gradients, learning_model, summarize
from tiny import row, speech_inputs, text_inputs, tiny_model
from torch import Tensor

from mmer.model import MMERForEmotionRecognition
from mmer.model.modality_input import concatenated, modality_input
from mmer.objectives.gradient_cache import backward_in_parts, split_batch
from mmer.objectives.multitask import multitask_loss
from mmer.training.selection import logits_by_condition

SPEECH = ("input_values", "input_features", "speech_attention_mask")
TEXT = ("input_ids", "text_attention_mask")


def mixed(model: MMERForEmotionRecognition) -> dict[str, Tensor]:
    """Both, sound alone, text alone, both, text alone."""
    inputs = speech_inputs(model, [4800, 8000, 7000, 6400, 4000]) | text_inputs([3, 5, 4, 6, 2])
    for side, missing in ((SPEECH, [2, 4]), (TEXT, [1])):
        for name in side:
            if name in inputs:
                inputs[name][missing] = 0
    return inputs


@pytest.mark.parametrize("fusion", ["mmer", "naive"])
@pytest.mark.parametrize("encoder", ["wav2vec2-group", "wav2vec2-bert"])
def test_an_answer_does_not_depend_on_what_the_others_lack(encoder: str, fusion: str) -> None:
    model = tiny_model(encoder, missing_modality_embeddings=True, fusion=fusion)
    inputs = mixed(model)
    with torch.no_grad():
        together = model(**inputs).logits
        for index in range(5):
            alone = row(inputs, index)  # of what is missing, zero positions
            alone = {name: tensor for name, tensor in alone.items() if tensor.shape[1]}
            torch.testing.assert_close(model(**alone).logits, together[index : index + 1], rtol=0, atol=1e-5)
    assert together.isfinite().all()
    assert (together[2] - together[4]).abs().max() > 1e-3  # the words count


def test_what_is_missing_is_not_read() -> None:
    """Whatever lies in a row whose mask is zero, encoders never see it."""
    model = tiny_model(missing_modality_embeddings=True)
    inputs = mixed(model)
    expected = model(**inputs).logits
    inputs["input_values"][2] = torch.nan
    torch.testing.assert_close(model(**inputs).logits, expected, rtol=0, atol=0)


def test_half_precision_takes_the_embeddings_of_what_is_missing() -> None:
    model = tiny_model(missing_modality_embeddings=True)
    inputs = mixed(model)
    expected = model(**inputs).logits
    with torch.autocast("cpu", torch.bfloat16):
        found = model(**inputs).logits
    torch.testing.assert_close(found.float(), expected, rtol=0, atol=0.1)


def test_an_epoch_is_judged_without_one_side_where_an_utterance_has_both() -> None:
    model = tiny_model(missing_modality_embeddings=True)
    inputs, conditions = mixed(model), ["both", "text", "speech"]
    names = {"both": (*SPEECH, *TEXT), "text": TEXT, "speech": SPEECH}
    with torch.no_grad():
        found = logits_by_condition(model, inputs, conditions)
        answers = {
            condition: model(**{name: tensor for name, tensor in inputs.items() if name in names[condition]})
            for condition in conditions
        }
    for index in range(5):
        known = [condition if index in (0, 3) else "both" for condition in conditions]
        expected = torch.stack([answers[condition].logits[index] for condition in known])
        torch.testing.assert_close(found[index], expected, rtol=0, atol=1e-5)
    assert (found[0, 1] - found[0, 2]).abs().max() > 1e-3


def test_encoding_once_answers_three_questions() -> None:
    model = tiny_model(missing_modality_embeddings=True)
    inputs = speech_inputs(model, [4800, 8000]) | text_inputs([3, 5])
    sound = {name: tensor for name, tensor in inputs.items() if name in SPEECH}
    words = {name: tensor for name, tensor in inputs.items() if name in TEXT}
    heard = model.encode_speech(sound["input_values"], sound["speech_attention_mask"])
    read = model.encode_text(words["input_ids"], words["text_attention_mask"])
    for (speech, text), given in (
        ((heard, read), inputs),
        ((heard, None), sound),
        ((None, read), words),
    ):
        embedding, logits = model.answer(speech, text)
        output = model(**given)
        torch.testing.assert_close(logits, output.logits)
        torch.testing.assert_close(embedding, output.fused_embedding)
    with pytest.raises(ValueError, match="needs sound"):
        model.answer(None, None)


def test_ctc_leaves_out_who_is_not_heard() -> None:
    """Four symbols do not fit into the one frame of a missing-modality embedding; that counts as no infinite loss."""
    model = tiny_model(missing_modality_embeddings=True)
    inputs = mixed(model)
    targets = torch.randint(5, 32, (5, 4), generator=torch.Generator().manual_seed(0))
    output = model(**inputs, labels=torch.tensor([0, 1, 2, 3, 0]), ctc_labels=targets)
    kept = [0, 1, 3]
    heard = model(
        **{name: tensor[kept] for name, tensor in inputs.items()},
        labels=torch.tensor([0, 1, 3]),
        ctc_labels=targets[kept],
    )
    assert output.infinite_ctc == 0
    torch.testing.assert_close(output.objectives["ctc"], heard.objectives["ctc"])
    silent = model(**text_inputs([3, 2]), labels=torch.tensor([0, 1]), ctc_labels=targets[:2])
    assert silent.objectives["ctc"] == 0


def missing_rows(model: MMERForEmotionRecognition) -> dict[str, Tensor]:
    """A learning batch whose first two utterances are only read, and whose fourth and fifth are only heard."""
    inputs = batch(model)
    for prefix in ("", "augmented_"):
        inputs[f"{prefix}speech_attention_mask"][:2] = 0
        inputs[f"{prefix}text_attention_mask"][3:5] = 0
    return inputs


def test_everything_learns_and_every_gradient_is_finite() -> None:
    model = learning_model(missing_modality_embeddings=True)
    model(**missing_rows(model)).loss.backward()
    found = gradients(model)
    assert all(gradient.isfinite().all() for gradient in found.values())
    assert found["missing_speech"].abs().sum() > 0
    assert found["missing_text"].abs().sum() > 0


def test_the_gradient_in_parts_is_that_of_the_batch() -> None:
    """One part has nothing to hear."""
    model = learning_model(missing_modality_embeddings=True).eval()
    inputs = missing_rows(model)
    model(**inputs).loss.backward()
    expected = gradients(model)
    model.zero_grad()
    backward_in_parts(
        split_batch(inputs, 2),
        partial(summarize, model),
        partial(multitask_loss, model.config),
        Tensor.backward,
    )
    found = gradients(model)
    assert set(found) == set(expected)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-8, atol=1e-12)


def test_one_view_may_lack_what_the_other_has() -> None:
    model = tiny_model(missing_modality_embeddings=True)
    sound, words = speech_inputs(model, [4800, 8000]), text_inputs([3, 5])
    second = {f"augmented_{name}": tensor for name, tensor in (sound | words).items()}
    output = model(**words, **second)
    torch.testing.assert_close(output.logits, model(**words).logits)
    torch.testing.assert_close(output.augmented_fused_embedding, model(**sound, **words).fused_embedding)


@pytest.mark.parametrize("size", [(), (5,), (2, 5)])
def test_two_views_are_padded_to_the_longer_one(size: tuple[int, ...]) -> None:
    short, long = (modality_input(None, torch.ones(2, positions, *size)) for positions in (3, 4))
    assert short is not None
    assert long is not None
    for views, lengths in (((short, long), (3, 3, 4, 4)), ((long, short), (4, 4, 3, 3))):
        both = concatenated(*views)
        assert both.values.shape == (4, 4, *size)
        assert both.mask.tolist() == [[1] * length + [0] * (4 - length) for length in lengths]
        assert torch.equal(
            both.values.long(), both.mask.reshape(4, 4, *[1] * len(size)).expand(both.values.shape)
        )


def test_missing_modality_embeddings_are_saved(tmp_path: Path) -> None:
    model = tiny_model(missing_modality_embeddings=True)
    model.save_pretrained(tmp_path)
    loaded = MMERForEmotionRecognition.from_pretrained(tmp_path)
    assert torch.equal(loaded.missing_speech, model.missing_speech)
    assert loaded.missing_text.std() > 0
    torch.testing.assert_close(loaded(**text_inputs([3])).logits, model(**text_inputs([3])).logits)


def test_nothing_stands_in_for_the_only_side() -> None:
    with pytest.raises(ValueError, match="fusion 'text' has one side, which nothing stands in for"):
        tiny_model(fusion="text", missing_modality_embeddings=True)
