"""The files of the source tree, without asking git: a copy or a tarball is as good as a clone."""

import os

NOT_SOURCE = {".git", ".cache", "build", "__pycache__"}


def source_files(root):
    """Paths relative to root, sorted."""
    found = []
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in NOT_SOURCE)
        found += [os.path.relpath(os.path.join(folder, name), root) for name in files]
    return sorted(found)
