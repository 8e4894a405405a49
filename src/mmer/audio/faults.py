"""Faults of sound that can be heard, as the codes of warnings."""

from enum import StrEnum


class AudioFault(StrEnum):
    """Why a recording is likely to be answered badly."""

    LOW_RATE = "low rate"
    SILENT = "silent"
    VERY_QUIET = "very quiet"
    CLIPPED = "clipped"
    BEYOND_FULL_SCALE = "beyond full scale"
    CHANNELS_CANCEL = "channels cancel"
