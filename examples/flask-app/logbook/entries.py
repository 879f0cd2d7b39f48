"""The log itself: reading it, writing in it, and the pictures."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from flask import (
    Blueprint,
    Flask,
    abort,
    current_app,
    flash,
    redirect,
    render_template,
    send_from_directory,
    url_for,
)
from flask.typing import ResponseReturnValue
from flask_login import current_user, login_required
from flask_wtf import FlaskForm
from flask_wtf.file import FileField
from sqlalchemy import select
from werkzeug.datastructures import FileStorage
from wtforms import TextAreaField, ValidationError
from wtforms.validators import DataRequired, Length

from .background import count_words, later
from .extensions import db
from .models import Entry

EXTENSIONS = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".gif": "gif", ".webp": "webp"}

bp = Blueprint("entries", __name__)


def init_app(app: Flask) -> None:
    app.register_blueprint(bp)


class EntryForm(FlaskForm):
    text = TextAreaField("Entry", [DataRequired("Write something first."), Length(max=10_000)])
    picture = FileField("Picture")

    def validate_picture(self, field: FileField) -> None:
        if field.data and picture_type(field.data) is None:
            raise ValidationError("Only PNG, JPEG, GIF and WebP pictures are accepted.")


@bp.get("/")
def index() -> ResponseReturnValue:
    # A form holds a token and so starts a session: readers get neither.
    return render_page(EntryForm() if current_user.is_authenticated else None)


@bp.post("/entries")
@login_required
def write() -> ResponseReturnValue:
    form = EntryForm()
    if not form.validate_on_submit():
        return render_page(form), 400
    picture = save_picture(form.picture.data) if form.picture.data else None
    entry = Entry(text=form.text.data.strip(), picture=picture, author_id=current_user.id)
    db.session.add(entry)
    try:
        db.session.commit()
    except Exception:
        if picture:
            (upload_folder() / picture).unlink(missing_ok=True)
        raise
    later(count_words, entry.id)  # without it the entry is as good
    flash("Entered in the log.")
    return redirect(url_for("entries.index"), 303)


@bp.post("/entries/<int:entry_id>/delete")
@login_required
def delete(entry_id: int) -> ResponseReturnValue:
    entry = db.session.get(Entry, entry_id)
    if entry is None or entry.author_id != current_user.id:
        abort(404)
    db.session.delete(entry)
    db.session.commit()
    if entry.picture:
        (upload_folder() / entry.picture).unlink(missing_ok=True)
    flash("Taken out of the log.")
    return redirect(url_for("entries.index"), 303)


@bp.get("/uploads/<name>")
def picture(name: str) -> ResponseReturnValue:
    """In production nginx answers this path, and the app does not."""
    if not current_app.config["SERVE_UPLOADS"]:
        abort(404)
    return send_from_directory(upload_folder(), name)


def render_page(form: EntryForm | None) -> str:
    newest_first = select(Entry).order_by(Entry.created_at.desc(), Entry.id.desc())
    page = db.paginate(newest_first, per_page=current_app.config["ENTRIES_PER_PAGE"])
    return render_template("index.html", page=page, form=form, upload_url=current_app.config["UPLOAD_URL"])


def picture_type(upload: FileStorage) -> str | None:
    """What the first bytes say it is, provided that the file's name says the same."""
    head = upload.stream.read(12)
    upload.stream.seek(0)
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        found = "png"
    elif head.startswith(b"\xff\xd8\xff"):
        found = "jpeg"
    elif head.startswith((b"GIF87a", b"GIF89a")):
        found = "gif"
    elif head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        found = "webp"
    else:
        return None
    return found if EXTENSIONS.get(_suffix(upload)) == found else None


def save_picture(upload: FileStorage) -> str:
    """Store under a name of our own making, readable by the group (nginx), whatever the umask."""
    folder = upload_folder()
    folder.mkdir(parents=True, exist_ok=True)
    name = secrets.token_hex(16) + _suffix(upload)
    descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
    try:
        with open(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o640)
            upload.save(file)
    except Exception:
        (folder / name).unlink(missing_ok=True)
        raise
    return name


def upload_folder() -> Path:
    return Path(current_app.config["UPLOAD_FOLDER"])


def _suffix(upload: FileStorage) -> str:
    return os.path.splitext(upload.filename or "")[1].lower()
