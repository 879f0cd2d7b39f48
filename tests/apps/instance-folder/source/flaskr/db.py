import sqlite3

import click
from flask import current_app


def get_db():
    return sqlite3.connect(current_app.config["DATABASE"])


@click.command("init-db")
def init_db_command():
    with current_app.open_resource("schema.sql") as f:
        get_db().executescript(f.read().decode())
