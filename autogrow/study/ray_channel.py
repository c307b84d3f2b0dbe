"""What a search's driver and its Ray process say to each other: plain data, as JSON, each word a message of its own."""

import json
import threading
from multiprocessing.connection import Connection
from typing import Any

Message = dict[str, Any]


class Channel:
    """One end of a pipe. Any number of threads may say something; one listens."""

    def __init__(self, connection: "Connection[Any, Any]") -> None:
        self._connection = connection
        self._saying = threading.Lock()

    def say(self, word: str, **content: Any) -> None:
        """Raises `OSError` when nobody is there any more."""
        with self._saying:
            self._connection.send_bytes(json.dumps({"word": word, **content}).encode())

    def hear(self, timeout_seconds: float | None = None) -> Message | None:
        """The next message; None if there is none in that time. Raises `EOFError` when nobody is there any more."""
        try:
            if not self._connection.poll(timeout_seconds):
                return None
            message: Message = json.loads(self._connection.recv_bytes())
        except (OSError, ValueError) as error:  # it died in the middle of a word
            raise EOFError from error
        return message
