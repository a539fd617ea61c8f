"""`python -m gatepost` is `gatepost`."""

import os

if "_GATEPOST_OPENSSL_CONF" in os.environ:  # of `manage.cli.token_provider`: before anything uses OpenSSL
    from gatepost.net.token_provider import load_requested

    load_requested()

from gatepost.manage.cli.run import run

if __name__ == "__main__":
    run()
