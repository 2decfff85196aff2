from __future__ import annotations

import json
import socket
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread

import pytest

from bench import predicted


def test_answer_has_the_digits_that_it_will_have() -> None:
    told = json.loads(predicted.answer())
    assert told["symbol"] == predicted.SYMBOL
    assert len(str(told["freshness"]["age_seconds"])) == len("200000.123")


def test_file_holds_the_prediction(tmp_path: Path) -> None:
    predicted.write_file(tmp_path / "a.db")
    with sqlite3.connect(tmp_path / "a.db") as database:
        (row,) = database.execute("SELECT * FROM latest_predictions")
    database.close()
    assert row[:2] == (predicted.SYMBOL, predicted.PRICE)
    age = datetime.now(UTC) - datetime.fromisoformat(row[-1])
    assert 0 <= age.total_seconds() - predicted.AGE < 60


@pytest.mark.parametrize("answer", [b"+OK\r\n", b"-NOAUTH\r\n"])
def test_redis_has_to_take_it(answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            client, _ = server.accept()
            with client:
                client.recv(4096)
                client.sendall(answer)

        thread = Thread(target=serve)
        thread.start()
        port = server.getsockname()[1]
        if answer == b"+OK\r\n":
            predicted.tell_redis(port)
        else:
            with pytest.raises(OSError, match="did not take"):
                predicted.tell_redis(port)
        thread.join()
