"""Put every Python process whose PYTHONPATH names this folder 500 days ahead of the clock.

Python loads it by its name before anything else, so that the tests, the stand-ins and the function
agree on the day. https://docs.python.org/3/library/site.html
"""

import time

try:
    import time_machine
except ModuleNotFoundError:  # a Python without the tests' packages, such as gcloud's own
    pass
else:
    time_machine.travel(time.time() + 500 * 86_400, tick=True).start()
