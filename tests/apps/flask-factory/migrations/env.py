# Alembic
