"""An S3 server of our own for tests: moto's, in this process."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

SETTINGS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true"}


@contextmanager
def s3_server(bucket: str = "bucket") -> Iterator[str]:
    """A running server with one bucket; yields ``s3://BUCKET/{}?...``, to be formatted with a path."""
    from moto.moto_server.threaded_moto_server import ThreadedMotoServer
    from pyarrow.fs import FileSystem

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    before = {name: os.environ.get(name) for name in SETTINGS}
    os.environ.update(SETTINGS)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        options = f"?endpoint_override=http://127.0.0.1:{server.get_host_and_port()[1]}"
        files, _ = FileSystem.from_uri(f"s3://{bucket}{options}&allow_bucket_creation=true")
        files.create_dir(bucket)
        yield f"s3://{bucket}/{{}}{options}"
    finally:
        server.stop()
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
