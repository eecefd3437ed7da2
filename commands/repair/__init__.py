"""History: compare Clockify's entries with the Events in Salesforce, and repair what differs.

It decides nothing about what an Event looks like (mapping) and reads no settings.
"""
