"""Orders of persons and programs about mail that is queued: kept in the spool, honoured on its way, ended in time."""
