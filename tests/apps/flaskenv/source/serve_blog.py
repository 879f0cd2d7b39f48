from flask import Flask


def make():
    app = Flask(__name__)

    @app.get("/")
    def front():
        return "hello"

    return app
