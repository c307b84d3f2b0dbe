"""The storage of a study in a file of its own, in which several writes are one transaction.

Every method of Optuna's storage commits by itself, and a commit waits for the disk: the end of a trial is some twenty.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import optuna
from sqlalchemy.orm import scoped_session, sessionmaker


class LocalStorage(optuna.storages.RDBStorage):
    """A storage that nobody else writes to while this process does."""

    @contextmanager
    def one_transaction(self) -> Iterator[None]:
        """What is written within has been written whole at its end, or, where anything went wrong, not at all."""
        own = self.scoped_session
        with self.engine.begin() as connection:
            # Sessions commit what they join only once its connection does: SQLAlchemy's way of joining a session into
            # a transaction that began outside of it.
            within = sessionmaker(bind=connection, join_transaction_mode="rollback_only")
            self.scoped_session = scoped_session(within)
            try:
                yield
            finally:
                self.scoped_session.remove()
                self.scoped_session = own


def one_transaction(study: optuna.Study) -> AbstractContextManager[None]:
    """For several writes to a study: one transaction where its storage is local, as many as there are elsewhere."""
    backend = getattr(study._storage, "_backend", None)  # behind Optuna's cache
    return backend.one_transaction() if isinstance(backend, LocalStorage) else nullcontext()
