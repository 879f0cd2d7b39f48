from flask import Flask

from models import Entry

app = Flask(__name__)
ENTRIES = [Entry]
