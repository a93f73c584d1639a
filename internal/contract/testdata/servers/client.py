"""A program for Python: client.py HOST:PORT TOKEN SIZE. It sends a body of so many
bytes with http.client, and prints the answer's body, and its status in a line of its
own."""

import http.client
import sys

address, token, size = sys.argv[1:]
connection = http.client.HTTPConnection(address)
connection.request(
    "POST",
    "/v3/things",
    body=b"x" * int(size),
    headers={"Authorization": "Bearer " + token, "Content-Type": "application/octet-stream"},
)
response = connection.getresponse()
print(response.read().decode(), response.status, sep="\n")
