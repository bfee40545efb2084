"""Message headers, DKIM signatures and delivery status notifications as pure functions of bytes."""
