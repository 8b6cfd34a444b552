"""A process of the service that loads no model, and does what its recordings say."""

import os
import time

from wedefense_lite.files import InputError
from wedefense_lite.serve.pool import Reply

MODEL = {"hashes": ["0"], "threshold": 0.0}


def work(connection, *_arguments) -> None:
    """Answer each upload with its own bytes; ``hang``, ``die`` and ``damaged`` do that."""
    connection.send(MODEL)
    while True:
        data = connection.recv().data
        if data == b"hang":
            time.sleep(60)
        if data == b"die":
            os._exit(1)
        if data == b"damaged":
            connection.send(InputError("its weights are damaged"))
        else:
            connection.send(Reply(data, []))
