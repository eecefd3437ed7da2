"""Clockify's REST API."""
