"""How Alembic reaches the database: through the engine `RunStore.migrate` hands over."""

from alembic import context

from grodtd.adapters.storage.tables import metadata

engine = context.config.attributes["engine"]
with engine.connect() as connection:
    context.configure(connection=connection, target_metadata=metadata, render_as_batch=engine.dialect.name == "sqlite")
    with context.begin_transaction():
        context.run_migrations()
