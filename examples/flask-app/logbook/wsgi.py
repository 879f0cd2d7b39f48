"""The entry point `logbook.wsgi:app`; `logbook:create_app()` is the other one."""

from . import create_app

app = create_app()
