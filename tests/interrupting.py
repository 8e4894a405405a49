"""A user who presses Ctrl-C."""

import io
import threading


class Interrupting(io.StringIO):
    """A screen before which the user presses Ctrl-C once, when the text appears."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text

    def write(self, text: str) -> int:
        main = threading.current_thread() is threading.main_thread()
        if main and self.text and self.text in text:
            self.text = ""
            raise KeyboardInterrupt
        return super().write(text)
