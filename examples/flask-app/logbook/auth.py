"""Logging in and out, and `flask --app logbook user add NAME`."""

from __future__ import annotations

import os
import sys
from functools import cache

import click
from flask import Blueprint, Flask, current_app, redirect, render_template, session, url_for
from flask.cli import AppGroup
from flask.typing import ResponseReturnValue
from flask_login import current_user, login_user, logout_user
from flask_wtf import FlaskForm
from sqlalchemy import select
from werkzeug.security import check_password_hash, generate_password_hash
from wtforms import PasswordField, StringField
from wtforms.validators import InputRequired, Length

from . import logging
from .config import PASSWORD_LENGTH
from .extensions import db, login
from .models import User

#: The account of the smoke test after a deploy, where LOGBOOK_SMOKE_PASSWORD is set: made when it first logs in.
SMOKE = "smoke"

bp = Blueprint("auth", __name__)
users = AppGroup("user", help="The people who may write in the logbook.")


def init_app(app: Flask) -> None:
    login.login_view = "auth.log_in"
    login.login_message = "Log in to write in the logbook."
    app.jinja_env.globals["current_user"] = current_user  # asked only where a template uses it
    app.register_blueprint(bp)
    app.cli.add_command(users)


class LoginForm(FlaskForm):
    name = StringField("Name", [InputRequired(), Length(max=80)])
    password = PasswordField("Password", [InputRequired(), Length(max=1024)])


@login.user_loader
def load_user(user_id: str) -> User | None:
    user = db.session.get(User, int(user_id))
    logging.note_user(user.name if user else None)
    return user


@bp.get("/login")
def log_in() -> ResponseReturnValue:
    return render_template("login.html", form=LoginForm(), failed=False)


@bp.post("/login")
def log_in_submit() -> ResponseReturnValue:
    form = LoginForm()
    user = authenticate(form.name.data, form.password.data) if form.validate_on_submit() else None
    if user is None:
        return render_template("login.html", form=form, failed=True), 401
    renew_session()
    login_user(user)
    logging.note_user(user.name)
    return redirect(url_for("entries.index"), 303)


@bp.post("/logout")
def log_out() -> ResponseReturnValue:
    logout_user()
    session.clear()
    return redirect(url_for("entries.index"), 303)


def authenticate(name: str, password: str) -> User | None:
    """The user, or None. An unknown name costs the same time as a wrong password."""
    if name == SMOKE and (due := current_app.config["SMOKE_PASSWORD"]):
        keep(name, due)
    user = db.session.scalar(select(User).where(User.name == name))
    known = check_password_hash(user.password_hash if user else _nobody(), password)
    return user if known else None


def keep(name: str, password: str) -> str:
    """Let there be a user with this password; what that came to."""
    user = db.session.scalar(select(User).where(User.name == name))
    if user is None:
        db.session.add(User(name=name, password_hash=hash_password(password)))
        outcome = "created"
    elif check_password_hash(user.password_hash, password):
        outcome = "unchanged"
    else:
        user.password_hash = hash_password(password)
        outcome = "updated"
    db.session.commit()
    return outcome


@cache
def _nobody() -> str:
    return hash_password(os.urandom(16).hex())


def hash_password(password: str) -> str:
    return generate_password_hash(password, method="scrypt")


def renew_session() -> None:
    """A new session id, so that one planted before the login is worth nothing after it."""
    current_app.session_interface.regenerate(session)  # type: ignore[attr-defined]


@users.command("add")
@click.argument("name")
def add_user(name: str) -> None:
    """Create NAME, or give it a new password. May be repeated.

    The password comes from LOGBOOK_PASSWORD or else from standard input.
    """
    name = name.strip()
    if not 1 <= len(name) <= 80:
        raise click.BadParameter("a name has 1 to 80 characters", param_hint="NAME")
    password = os.environ.get("LOGBOOK_PASSWORD") or _read_password()
    if len(password) < PASSWORD_LENGTH:
        raise click.ClickException(f"the password is too short: at least {PASSWORD_LENGTH} characters")
    click.echo(f"{name}: {keep(name, password)}")


def _read_password() -> str:
    if sys.stdin.isatty():
        return str(click.prompt("Password", hide_input=True, confirmation_prompt=True))
    return sys.stdin.readline().rstrip("\r\n")
