"""Objects in the stores that fsspec reaches, by URLs such as `s3://bucket/clips/a.mp4`."""

from vae3d_cli.remote.path import Location, RemotePath, is_hidden, is_url, location, stamp_of

__all__ = ["Location", "RemotePath", "is_hidden", "is_url", "location", "stamp_of"]
