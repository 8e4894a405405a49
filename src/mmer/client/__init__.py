"""Client of a service that `mmer serve` runs, for programs that hold no model and need no PyTorch.

>>> from mmer.client import Client
>>> with Client("http://127.0.0.1:8000") as client:  # doctest: +SKIP
...     client.predict("clip.wav", "I never said that!").label
'angry'
"""

from mmer.client.clients import AsyncClient, Client
from mmer.client.messages import ServiceError

__all__ = ["AsyncClient", "Client", "ServiceError"]
