"""Raises the number of files that a process may have open."""


def allow_most() -> None:
    """Raises the soft limit of open files to the hard one, which needs no rights.

    Shards of images, saves in the background and loaders' threads can need more than the 1024 of
    many shells. Systems other than Unix have no such limit.
    """
    try:
        import resource
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (ValueError, OSError):
            return  # macOS refuses an unlimited number; the limit stays as it is.
