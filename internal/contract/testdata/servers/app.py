"""Python's servers: app.py wsgiref|waitress PORT. What they make of a request, as
lines NAME=value."""

import sys


def app(environ, start_response):
    lines = ["SERVER=" + sys.argv[1], "PATH=" + environ["PATH_INFO"]]
    lines += [f"{name}={value}" for name, value in environ.items() if name.startswith("HTTP_")]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return ["\n".join(lines).encode("latin1")]


port = int(sys.argv[2])
if sys.argv[1] == "waitress":
    import waitress

    waitress.serve(app, host="127.0.0.1", port=port, threads=2)
else:
    from wsgiref.simple_server import make_server

    make_server("127.0.0.1", port, app).serve_forever()
