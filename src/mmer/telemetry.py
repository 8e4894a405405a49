"""Keeps the packages under mmer from reporting to their makers.

Each of them reads its variable when it is imported, so `import mmer` sets them before any of the packages is. Processes
that mmer starts inherit them.
"""

import os

VARIABLES = {
    "ORT_DISABLE_TELEMETRY": "1",  # onnxruntime; its disable_telemetry_events() comes after the first event
    "HF_HUB_DISABLE_TELEMETRY": "1",  # huggingface_hub and transformers: usage figures sent with a download
    "HF_UPDATE_DOWNLOAD_COUNTS": "0",  # datasets
    "RAY_USAGE_STATS_ENABLED": "0",
}


def switch_off() -> None:
    """Set the variables, whatever they were."""
    os.environ.update(VARIABLES)
