"""Warm-up: how much a cold address may send to each ISP today, and when it may send more."""
