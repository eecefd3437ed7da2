"""Salesforce as the integration user sees it."""
