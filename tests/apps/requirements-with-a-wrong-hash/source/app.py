import tiny_web


def app(environ, start_response):
    start_response("200 OK", [])
    return [tiny_web.VERSION.encode()]
