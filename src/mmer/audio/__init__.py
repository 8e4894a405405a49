"""Recordings as waveforms: decode, mix down, resample, find speech; every error names the file."""

from mmer.audio.load import (
    SAMPLING_RATE,
    LoadedAudio,
    as_waveform,
    channel_names,
    load_audio,
    load_with_warnings,
    probe,
    quality_warnings,
    stream_audio,
    stream_channels,
)

__all__ = [
    "SAMPLING_RATE",
    "LoadedAudio",
    "as_waveform",
    "channel_names",
    "load_audio",
    "load_with_warnings",
    "probe",
    "quality_warnings",
    "stream_audio",
    "stream_channels",
]
