"""Runs the Hub test server until it is told to stop. Prints its address, and what to set to use it."""

import argparse
import threading

from .server import HubServer


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m shared.hub_server", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0: any free port")
    with HubServer(port=parser.parse_args().port) as hub:
        print(hub.url, flush=True)
        print(f"HF_ENDPOINT={hub.url} HF_TOKEN=hf_write HF_HUB_DISABLE_XET=1 HF_HUB_DISABLE_TELEMETRY=1", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print("stopped")


if __name__ == "__main__":
    main()
