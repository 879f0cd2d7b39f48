"""How many words an entry has, counted later by the worker. Nullable: the release before it knows no such column."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003_words"
down_revision = "0002_ledger"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("entries", sa.Column("words", sa.Integer(), nullable=True))


def downgrade() -> None:
    op.drop_column("entries", "words")
