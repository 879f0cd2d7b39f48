from flask import Flask

site = Flask(__name__)


@site.get("/")
def front():
    return "hello"
