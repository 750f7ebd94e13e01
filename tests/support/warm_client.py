"""``python -S warm_client.py SOCKET ARGUMENTS``: is ``python ARGUMENTS`` to a shell, but forked from a warm process."""

from __future__ import annotations

import json
import os
import socket
import sys

request = {"arguments": sys.argv[2:], "cwd": os.getcwd(), "env": dict(os.environ)}
connection = socket.socket(socket.AF_UNIX)
connection.connect(sys.argv[1])
text = json.dumps(request).encode() + b"\n"
sent = socket.send_fds(connection, [text], [0, 1, 2])
connection.sendall(text[sent:])
with connection.makefile() as answers:
    _, status = answers
sys.exit(int(status) % 256)
