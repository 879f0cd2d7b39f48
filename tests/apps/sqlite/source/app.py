from flask import Flask, request
from flask_sqlalchemy import SQLAlchemy

app = Flask(__name__)
app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite:///notes.db"
db = SQLAlchemy(app)


class Note(db.Model):
    id = db.Column(db.Integer, primary_key=True)
    text = db.Column(db.String, nullable=False)


with app.app_context():
    db.create_all()


def add(text):
    db.session.add(Note(text=text))
    db.session.commit()


@app.get("/")
def notes():
    return [note.text for note in Note.query.order_by(Note.id)]


@app.post("/")
def note():
    add(request.form["text"])
    return "", 201


@app.cli.command("tick")
def tick():
    add("tick")
