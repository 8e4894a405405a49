"""Faults of sound that can be heard, as the codes of warnings."""

from enum import StrEnum

KNOWN_FORMATS = "WAV, FLAC, Ogg, Opus, MP3, M4A, MP4, WebM or AVI"
"""Formats that an error names, the usual ones of all that can be decoded."""


class AudioFault(StrEnum):
    """Why a recording is likely to be answered badly."""

    LOW_RATE = "low rate"
    SILENT = "silent"
    VERY_QUIET = "very quiet"
    CLIPPED = "clipped"
    BEYOND_FULL_SCALE = "beyond full scale"
    CHANNELS_CANCEL = "channels cancel"
