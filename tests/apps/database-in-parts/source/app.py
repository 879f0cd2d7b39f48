import os

import psycopg
from flask import Flask

app = Flask(__name__)


def connect():
    return psycopg.connect(
        host=os.environ["DB_HOST"], dbname=os.environ["DB_NAME"], user=os.environ["DB_USER"], password=os.environ["DB_PASSWORD"]
    )
