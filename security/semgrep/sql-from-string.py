"""What `sql-from-string` must and must not report."""

import sqlalchemy
from sqlalchemy import select, text


def bad(connection, table, run_id):
    # ruleid: sql-from-string
    connection.execute(f"select * from runs where id = {run_id}")
    # ruleid: sql-from-string
    connection.execute(text(f"delete from {table}"))
    # ruleid: sql-from-string
    connection.exec_driver_sql("select * from " + table)
    # ruleid: sql-from-string
    connection.execute("select * from runs where id = %s" % run_id)
    # ruleid: sql-from-string
    return sqlalchemy.text("select * from {}".format(table))


def good(connection, runs, run_id):
    # ok: sql-from-string
    connection.execute(select(runs).where(runs.c.id == run_id))
    # ok: sql-from-string
    connection.execute(text("select * from runs where id = :id"), {"id": run_id})
    # ok: sql-from-string
    connection.exec_driver_sql("select 1")
    # ok: sql-from-string
    connection.execute(select(runs).where(runs.c.name == f"run {run_id}"))
