import sqlite3

from flask import Flask

app = Flask(__name__)


def database():
    return sqlite3.connect("notes.db")
