"""What is wrong with sound that can be heard: a code for programs, and a sentence for people."""

from enum import StrEnum


class AudioFault(StrEnum):
    """Why a recording is likely to be answered badly."""

    LOW_RATE = "low rate"
    SILENT = "silent"
    VERY_QUIET = "very quiet"
    CLIPPED = "clipped"
    BEYOND_FULL_SCALE = "beyond full scale"
    CHANNELS_CANCEL = "channels cancel"


class AudioWarning(str):
    """A sentence about a recording that also knows its `fault`."""

    fault: AudioFault

    def __new__(cls, text: str, fault: AudioFault) -> "AudioWarning":
        warning = super().__new__(cls, text)
        warning.fault = fault
        return warning

    def __reduce__(self) -> tuple[type["AudioWarning"], tuple[str, AudioFault]]:  # for other processes
        return AudioWarning, (str(self), self.fault)
