"""How Alembic reaches the database: through the app's own engine, and never waiting long for a lock."""

from __future__ import annotations

from alembic import context
from flask import current_app

migrate = current_app.extensions["migrate"]
options = {"target_metadata": migrate.db.metadata, **migrate.configure_args}

# A migration that queues for a lock makes every request behind it queue too: rather fail, and try again.
# A limit that was set from outside (PGOPTIONS="-c lock_timeout=...") stays.
LOCK_TIMEOUT = "SELECT set_config('lock_timeout', '5s', false) WHERE current_setting('lock_timeout') = '0'"

if context.is_offline_mode():
    context.configure(url=migrate.db.engine.url, literal_binds=True, **options)
    with context.begin_transaction():
        context.run_migrations()
else:
    with migrate.db.engine.connect() as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(LOCK_TIMEOUT)
            connection.commit()
        context.configure(connection=connection, **options)
        with context.begin_transaction():
            context.run_migrations()
