"""Sentences without emotion, by language: the words that an explanation puts into the voice of an utterance."""

from collections.abc import Sequence

ENGLISH = "the meeting is at nine o'clock"
SENTENCES = {
    "ar": "الاجتماع في الساعة التاسعة",
    "cs": "schůzka je v devět hodin",
    "da": "mødet er klokken ni",
    "de": "das Treffen ist um neun Uhr",
    "el": "η συνάντηση είναι στις εννέα",
    "en": ENGLISH,
    "es": "la reunión es a las nueve",
    "fa": "جلسه ساعت نه است",
    "fi": "kokous on kello yhdeksän",
    "fr": "la réunion est à neuf heures",
    "hi": "बैठक नौ बजे है",
    "hu": "a megbeszélés kilenckor lesz",
    "id": "rapatnya pukul sembilan",
    "it": "la riunione è alle nove",
    "ja": "会議は九時からです",
    "ko": "회의는 아홉 시에 있습니다",
    "nl": "de vergadering is om negen uur",
    "no": "møtet er klokka ni",
    "pl": "spotkanie jest o dziewiątej",
    "pt": "a reunião é às nove horas",
    "ro": "întâlnirea este la ora nouă",
    "ru": "встреча в девять часов",
    "sv": "mötet är klockan nio",
    "tr": "toplantı saat dokuzda",  # noqa: RUF001
    "uk": "зустріч о дев'ятій годині",  # noqa: RUF001
    "vi": "cuộc họp lúc chín giờ",
    "zh": "会议九点开始",
}
"""ISO 639-1 code of a language -> "the meeting is at nine o'clock"."""


def neutral_sentence(languages: Sequence[str]) -> tuple[str, str | None]:
    """Choose the sentence for a model.

    Args:
        languages: of its training, the most frequent first, as the corpus writes them; empty where they are not known.

    Returns:
        The sentence in the first language that has one, and a note if there is none for the languages that are known.
    """
    for language in languages:
        # `pl-PL` and `pl_PL` are `pl`.
        if (sentence := SENTENCES.get(language.lower().replace("_", "-").partition("-")[0])) is not None:
            return sentence, None
    if not languages:
        return ENGLISH, None
    return ENGLISH, (
        f"the other words are English, since there is no sentence in the language of the training ({languages[0]}); "
        "give your own"
    )
