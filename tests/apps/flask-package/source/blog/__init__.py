from flask import Flask

app = Flask(__name__)

from blog import views  # noqa: E402, F401
