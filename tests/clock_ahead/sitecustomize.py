"""Put every Python process whose PYTHONPATH names this folder 500 days ahead of the clock.

Python loads it by its name before anything else, so that the tests, the stand-ins and the function
agree on the day. gRPC alone keeps the machine's clock: its deadlines are told by Python and kept by
its core, which would wait for 500 days. https://docs.python.org/3/library/site.html
"""

import time
from importlib import import_module
from types import SimpleNamespace

try:
    import time_machine

    told = [import_module(f"grpc.{name}") for name in ("_channel", "_server", "_cython.cygrpc")]
except ModuleNotFoundError:  # a Python without the tests' packages, such as gcloud's own
    pass
else:
    time_machine.travel(time.time() + 500 * 86_400, tick=True).start()
    real = SimpleNamespace(**vars(time) | {"time": time_machine.escape_hatch.time.time})
    for module in told:
        vars(module)["time"] = real
