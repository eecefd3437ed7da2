"""The parts of `python -m commands.set_up_salesforce`."""
