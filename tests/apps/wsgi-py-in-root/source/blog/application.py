from flask import Flask


def build():
    app = Flask(__name__)

    @app.get("/")
    def front():
        return "hello"

    return app
