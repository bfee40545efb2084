"""Mail that comes in as JSON: `POST /v1/messages`, judged and kept as what comes in by SMTP."""
