"""The mail transfer agent that runs in each slot: accept -> spool -> schedule -> resolve -> deliver -> account."""
