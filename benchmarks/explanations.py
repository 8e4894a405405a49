"""Do explanations point at what a model goes by? On *spoken* that is known: valence is one word, arousal is prosody.

Explains answers on voices never heard in training, and prints
- how often the word with the largest share, and with the largest drop, is the word that carries valence;
- how often other words (the twin sentence, whose word has the other valence) flip valence and leave arousal as it is;
- how often a monotone and a flat voice turn high arousal into low, leave low arousal as it is, and leave valence;
- how often the shares add up.

    python benchmarks/explanations.py MODEL CORPUS [--most 48] [--split test]

MODEL and CORPUS of `mmer demo`; of clips that are answered right alone.
"""

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np

from mmer.corpora.corpus import Corpus
from mmer.corpora.synthetic.spoken import ADJECTIVES, EMOTIONS, VERBS
from mmer.inference import EmotionRecognizer
from mmer.inference.explain.explain import explain
from mmer.inference.inputs import corpus_utterances

TWINS = {word: twin for pair in (*ADJECTIVES, *VERBS) for word, twin in (pair, pair[::-1])}
SIDES = {emotion: sides for sides, emotion in EMOTIONS.items()}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--most", type=int, default=48)
    parser.add_argument("--split", default="test")
    options = parser.parse_args()
    recognizer = EmotionRecognizer.from_pretrained(options.model, "cpu")
    corpus = Corpus.read(options.corpus)
    corpus = corpus.select((corpus.table["split"] == options.split).to_numpy())
    hits: dict[str, list[bool]] = defaultdict(list)
    places = np.linspace(0, len(corpus) - 1, min(options.most, len(corpus))).round().astype(int)
    utterances, emotions = corpus_utterances(corpus), corpus.table["emotion"].tolist()
    wrong = 0
    for place in places:
        utterance, emotion = utterances[place], emotions[place]
        arousal, valence = SIDES[emotion]
        said = str(utterance.transcript).split()
        word = next(each for each in said if each in TWINS)
        twin = " ".join(TWINS.get(each, each) for each in said)
        told = explain(recognizer, utterance, other_words=twin)
        if told.prediction.label != emotion:
            wrong += 1
            continue
        for measure in ("share", "drop"):
            top = max(told.words, key=lambda each: abs(getattr(each, measure)))
            hits[f"word of the largest {measure} carries valence, {valence} answers"].append(top.word == word)
        hits["shares add up to 5 %"].append(told.completeness.holds)
        other = told.counterfactuals["other words, same voice"]
        hits["other words flip valence"].append(SIDES[other.label][1] != valence)
        hits["other words leave arousal"].append(SIDES[other.label][0] == arousal)
        for name in ("monotone", "flat voice"):
            changed = SIDES[told.counterfactuals[f"same words, {name}"].label]
            verb = "flips" if arousal == "high" else "leaves"
            hits[f"{name} {verb} {arousal} arousal"].append(changed[0] == "low")
            hits[f"{name} leaves valence"].append(changed[1] == valence)
    print(f"{len(places) - wrong} of {len(places)} answers are right and explained")
    for name, found in hits.items():
        print(f"  {name:58}{np.mean(found):7.1%} of {len(found)}")


if __name__ == "__main__":
    main()
