#!/opt/contactsync/bin/python -IS
"""Whether the process in this container can do its work: its own /readyz, and the reason where it cannot.

Docker starts it every few seconds in each container, so it imports only what it needs, and nothing of Contactsync.
"""

import os
import socket
import sys

PORTS = range(9100, 9106)
"""Of `up` and the five services; a container has one of them (contactsync/runtime/settings.py, METRICS_PORTS)."""
TIMEOUT_S = 4.0


def readiness(port: int) -> tuple[bool, str]:
    """Whether it is ready, and what it says. Raises OSError where nobody listens."""
    with socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as connection:
        connection.settimeout(TIMEOUT_S)
        connection.sendall(b"GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(4096), b"")).decode(errors="replace")
    head, _, body = answer.partition("\r\n\r\n")
    return head.split(" ")[1:2] == ["200"], body.strip()


def main() -> int:
    named = os.environ.get("CONTACTSYNC_METRICS_PORT")
    said = "nobody serves /readyz here"
    for port in [int(named)] if named else PORTS:
        try:
            ready, said = readiness(port)
        except ConnectionRefusedError:
            continue
        except OSError as error:
            said = f"port {port}: {error}"
            break
        print(said)
        return 0 if ready else 1
    print(said)
    return 1


if __name__ == "__main__":
    sys.exit(main())
