"""The relay beside tuned Postfix: same machine, same run, same load, counted at the same sink."""
