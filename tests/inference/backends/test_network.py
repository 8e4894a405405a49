"""What recognizes without PyTorch being there."""

import subprocess
import sys

from mmer.inference import EmotionRecognizer
from mmer.inference.backends.torch_network import TorchNetwork

WITHOUT_TORCH = "import sys; sys.modules['torch'] = None\n"


def test_the_recognizer_is_imported_without_torch() -> None:
    code = (
        WITHOUT_TORCH
        + "import mmer; from mmer import EmotionRecognizer, MMERProcessor; print(EmotionRecognizer.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "EmotionRecognizer\n", done.stderr


def test_the_model_of_torch_is_at_hand(recognizer: EmotionRecognizer) -> None:
    assert isinstance(recognizer.network, TorchNetwork)
    assert recognizer.model is recognizer.network.model
    assert recognizer.network.device == "cpu"
