import logging
import os
from logging.handlers import RotatingFileHandler

from flask import Flask

app = Flask(__name__)
if not os.path.exists("logs"):
    os.mkdir("logs")
app.logger.addHandler(RotatingFileHandler("logs/app.log", maxBytes=10240))
logging.getLogger().setLevel(logging.INFO)
